"""Checks every value of a config once: its kind, its bounds, the names it may be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from fass_jax.config.key import Key, bounds, expects, is_within
from fass_jax.config.keys import ENTRIES, KEYS, row_of
from fass_jax.config.lookup import did_you_mean, one_of
from fass_jax.config.nested import flatten, split_stage
from fass_jax.config.renamed import instead
from fass_jax.types import UserError

KINDS: dict[type, tuple[type, ...]] = {
  bool: (bool,),
  int: (int,),
  float: (int, float),
  str: (str,),
  tuple: (tuple, list, str),  # a single name may be given as a string
}


def check(config: ConfigDict, tables: Mapping[str, Iterable[str]]) -> None:
  """Refuses a config with a value that its key does not take.

  Args:
    config: resolved, with all its overrides.
    tables: the names of the open sets, `{'losses': ..., 'samplers': ...}`; the names of a set that
      is not given are not checked.

  Raises:
    UserError: for the first wrong value, with its key.
  """
  shown = [view for term in config.terms.values() for view in _as_tuple(term.views)]
  own = {'streams': config.streams, 'views': config.views, 'views of terms': shown}
  for key, value in flatten(config, tuples=True).items():
    # a stage has streams and views of its own, and is checked again as the run that it is
    check_value(key, value, tables if split_stage(key)[0] else {**tables, **own}, config.epochs)
  area = config.data.crop_area
  if len(area) != 2 or area[0] > area[1]:
    raise UserError(f'--config.data.crop_area={area} are not two shares, the smaller first.')


def check_value(
  key: str, value: Any, tables: Mapping[str, Iterable[str]], epochs: int | None = None
) -> None:
  """Refuses a value that its key does not take.

  Args:
    key: dotted.
    value: tuples as tuples or as JSON's lists.
    tables: as of `check`.
    epochs: length of the run, to tell the order of a schedule; None does not ask for one.

  Raises:
    UserError: for a key that there is not, or a wrong value.
  """
  row, (stage, leaf) = row_of(key), split_stage(key)
  if row is None:
    other = instead(key) or did_you_mean(key, [stage + known for known in known_keys()])
    raise UserError(f"There is no config key '{key}'{other}")
  # as JSON, because a schedule holds numbers too
  if not isinstance(value, str) and 'NaN' in json.dumps(value):
    raise UserError(f'--config.{key}={value} is not a number.')
  if stage and leaf == 'epochs':
    if value <= 0:  # a share of the run's epochs, or epochs
      raise UserError(f'--config.{key}={value} is not above 0.')
    return
  if row.schedule:
    _check_schedule(key, value, None if stage else epochs)
  elif not _is_of_kind(value, row.default):
    such = '' if isinstance(row.default, bool) else f' such as {row.default!r}'
    raise UserError(
      f'--config.{key}={value} is not of the right kind: it expects {expects(row)}{such}.'
    )
  if any(not is_within(row, number) for number in _numbers(value)):
    raise UserError(f'--config.{key}={value} is not {bounds(row)}{row.hint}.')
  _check_names(key, value, row, tables)


def known_keys() -> list[str]:
  """Returns all keys, those of pieces with the name 'natural' and those of signals with 'NAME'."""
  names = {section: 'NAME' if section == 'signals' else 'natural' for section in ENTRIES}
  return [*KEYS, *(f'{s}.{names[s]}.{leaf}' for s, rows in ENTRIES.items() for leaf in rows)]


def _is_of_kind(value: Any, default: Any) -> bool:
  if isinstance(value, bool) or isinstance(default, bool):
    return isinstance(value, bool) and isinstance(default, bool)
  if isinstance(default, tuple) and _numbers(default):
    return isinstance(value, tuple | list) and len(_numbers(value)) == len(value)
  return isinstance(value, KINDS[type(default)])


def _as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
  return (names,) if isinstance(names, str) else tuple(names)


def _numbers(value: Any) -> list[float]:
  """Returns the numbers that bounds are asked of: those of a tuple, the values of a schedule."""
  if isinstance(value, str | bool):
    return []
  if isinstance(value, tuple | list):
    inner = (item[1] if isinstance(item, tuple | list) else item for item in value)
    return [item for item in inner if isinstance(item, int | float)]
  return [value]


def _check_schedule(key: str, value: Any, epochs: int | None) -> None:
  if isinstance(value, int | float):
    return
  pairs = isinstance(value, tuple | list) and value
  if not pairs or not all(isinstance(p, tuple | list) and len(p) == 2 for p in pairs):
    raise UserError(
      f'--config.{key}: the schedule {value} is no ((when, value), ...); write "((0, 1.0), '
      '(0.8, 0.1))" for 1 and, in the last fifth, .1, or "((0, 0.5),)" for .5 throughout.'
    )
  if epochs is None:
    return
  whens = [w * epochs if isinstance(w, float) and w < 1 else w for w, _ in value]
  if sorted(whens) != whens:
    raise UserError(
      f'--config.{key}: the schedule {value} is not in order of time; sort its pairs.'
    )


def _check_names(key: str, value: Any, row: Key, tables: Mapping[str, Iterable[str]]) -> None:
  if row.table and row.table not in tables or not (row.table or row.choices):
    return
  known = [*row.choices, *tables.get(row.table, ())]
  for name in _as_tuple(value):
    one_of(name, known, key)
