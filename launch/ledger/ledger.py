"""What a run of a table is, and the ledgers `results/*.jsonl` that hold those that were done.

Two runs are the same if their resolved configs are, whatever table or method string or override
they came from: a run is done once and shown wherever it belongs.
"""

from __future__ import annotations

import functools
import json
import pathlib
import runpy
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

from ml_collections import ConfigDict

from fass_jax.command.config_file import load_config
from fass_jax.config.deltas import base_config, flatten
from fass_jax.config.keys import DEFAULTS, FREE
from fass_jax.config.renamed import renew, without_unread
from fass_jax.types import UserError

CONFIG = runpy.run_path(str(REPO / 'configs' / 'tables.py'))
TABLES: dict[str, dict[str, Any]] = CONFIG['TABLES']
Row = runpy.run_path(str(REPO / 'configs' / 'thesis_tables.py'))['Row']
# names of a run, and how several are computed together: not what it is
NAMES = ('name', 'method', 'seed', 'seeds', 'engine.together')


def rows(table: Mapping[str, Any]) -> list[Any]:
  """Returns the rows of a table with all their fields."""
  return [Row(*row) for row in table['rows']]


def _literal(value: Any) -> Any:
  """Returns JSON's lists as the tuples that the command line takes."""
  return tuple(map(_literal, value)) if isinstance(value, list | tuple) else value


def flags(overrides: Mapping[str, Any]) -> list[str]:
  """Returns overrides as words of the command line."""
  return [f'--config.{k}={_literal(v)}' for k, v in overrides.items()]


def arguments(table: Mapping[str, Any], row: Any) -> list[str]:
  """Returns the command line of a row, without seed and work directory."""
  config = f'--config={REPO / table["config"]}:{row.method}'
  return [config, *flags({**table.get('overrides', {}), **row.overrides})]


@functools.cache
def _base(name: str) -> dict[str, Any]:
  return flatten(base_config(name))


def settings(config: ConfigDict) -> dict[str, Any]:
  """Returns what a run sets apart from plain training: `{key: value}` of all that is no default.

  A key that is added to the package later, with a default that changes nothing, leaves it as it
  is; so the figures of a ledger stay valid. The parameters of losses that it does not use are none
  of its settings.
  """
  found = {}
  for key, value in flatten(config).items():
    section, _, rest = key.partition('.')
    entry = DEFAULTS.get(section, {}).get(rest.partition('.')[2])
    default = _base(config.name).get(key, json.loads(json.dumps(entry)))
    if value != default and not key.startswith(FREE) and key not in NAMES:
      found[key] = value
  return without_unread(found)


def identity(name: str, values: Mapping[str, Any]) -> str:
  """Returns what makes two rows the same run, the seed aside."""
  return json.dumps([name, values], sort_keys=True)


class Run(NamedTuple):
  """What a command line asks for, the seed aside."""

  key: str  # which run it is
  config: ConfigDict
  settings: dict[str, Any]
  overrides: dict[str, Any]  # as they were given, where they matter


@functools.cache
def resolve(words: tuple[str, ...]) -> Run:
  """Returns the run of a command line."""
  config, _, given = load_config(words)
  kept = {k: v for k, v in given.items() if not k.startswith(FREE) and k not in NAMES}
  values = settings(config)
  return Run(identity(config.name, values), config, values, kept)


def key_of(words: Iterable[str]) -> str:
  """Returns the identity of a command line."""
  return resolve(tuple(words)).key


def line_key(line: Mapping[str, Any]) -> str | None:
  """Returns the identity of a line of a ledger, or None if its config is none any more."""
  if 'settings' in line:
    return identity(line['config'], without_unread(renew(line['settings'])))
  # written before settings were kept
  values = {'epochs': line['epochs'], 'data.subset_seed': line['subset_seed']}
  sets = values | renew(line['overrides'])
  words = [f'--config={line["config"]}.py:{line["method"]}', *flags(sets)]
  try:
    return key_of(words)
  except UserError:
    return None


def ledger(table: str, results: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the lines of a table's ledger.

  Raises:
    UserError: for a line that is not JSON.
  """
  path, lines = results / f'{table}.jsonl', []
  for number, text in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
    try:
      lines.append(json.loads(text))
    except ValueError as error:
      raise UserError(
        f'Line {number} of {path} is not JSON; delete it, and its run is done again.'
      ) from error
  return lines


def append(table: str, results: pathlib.Path, lines: Iterable[Mapping[str, Any]]) -> None:
  """Adds lines to a table's ledger."""
  results.mkdir(parents=True, exist_ok=True)
  with open(results / f'{table}.jsonl', 'a') as file:
    file.write(''.join(json.dumps(line) + '\n' for line in lines))


def everything(results: pathlib.Path, last: str = '') -> list[dict[str, Any]]:
  """Returns the lines of all ledgers, those of one table at the end."""
  names = sorted((p.stem for p in results.glob('*.jsonl')), key=lambda n: (n == last, n))
  return [line for name in names for line in ledger(name, results)]


def by_run(lines: Sequence[dict[str, Any]]) -> dict[str, dict[int, dict[str, Any]]]:
  """Sorts lines by what they are: `{identity: {seed: line}}`; the first of two equals counts."""
  found: dict[str, dict[int, dict[str, Any]]] = {}
  for line in lines:
    key = line_key(line)
    if key is not None:
      found.setdefault(key, {}).setdefault(line['seed'], line)
  return found
