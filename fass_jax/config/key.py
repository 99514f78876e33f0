"""What a config key is: its default, what its value must be, and one line of help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Key(NamedTuple):
  """A config key."""

  default: Any
  help: str  # one line
  # bounds of a number, of each number of a tuple, of each value of a schedule
  at_least: float | None = None
  above: float | None = None
  at_most: float | None = None
  below: float | None = None
  choices: tuple[str, ...] = ()  # the strings it takes
  table: str = ''  # an open set whose names it takes too; the room that owns the set is above this
  schedule: bool = False  # a number, or ((when, value), ...)
  of: tuple[str, ...] = ()  # the losses, samplers, ... that read it; () is every run
  hint: str = ''  # what a message about a bad value adds


KINDS = {
  bool: 'True or False',
  int: 'a whole number',
  float: 'a number',
  str: 'a string',
  tuple: 'a tuple',
  list: 'a tuple',
}


def defaults(rows: Mapping[str, Key]) -> dict[str, Any]:
  """Returns `{key: default}`."""
  return {name: row.default for name, row in rows.items()}


def under(section: str, rows: Mapping[str, Key]) -> dict[str, Key]:
  """Returns the rows of a section by their dotted keys."""
  return {f'{section}.{name}': row for name, row in rows.items()}


def expects(row: Key) -> str:
  """Returns what kind of value a key takes: 'a whole number', 'True or False', ..."""
  if row.schedule and isinstance(row.default, tuple):
    return 'a schedule ((when, value), ...)'
  return KINDS[type(row.default)]


def bounds(row: Key) -> str:
  """Returns the bounds of a number as words, such as 'at least 0' or 'in [0, 1)'; '' for none."""
  low = row.at_least if row.above is None else row.above
  high = row.at_most if row.below is None else row.below
  if low is None and high is None:
    return ''
  if high is None:
    return f'{"at least" if row.above is None else "above"} {low:g}'
  if low is None:
    return f'{"at most" if row.below is None else "below"} {high:g}'
  left, right = '[' if row.above is None else '(', ']' if row.below is None else ')'
  return f'in {left}{low:g}, {high:g}{right}'


def is_within(row: Key, number: float) -> bool:
  """Says whether a number keeps the bounds of a key."""
  return (
    (row.at_least is None or number >= row.at_least)
    and (row.above is None or number > row.above)
    and (row.at_most is None or number <= row.at_most)
    and (row.below is None or number < row.below)
  )
