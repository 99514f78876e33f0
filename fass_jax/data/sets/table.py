"""Reads tables: CSV files of numbers and words, as rows of numbers for a network.

A column of numbers stays one number. A column of words becomes a zero or one per word that the
training rows have. What a column predicts (a class, a value) is up to the caller.
"""

from __future__ import annotations

import collections
import csv
import gzip
import logging
import math
import pathlib
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fass_jax.config.lookup import did_you_mean
from fass_jax.types import Column, UserError

log = logging.getLogger(__name__)

# cells that have no value, in lower case
MISSING = ('', '?', 'na', 'n/a', 'nan', 'null')
FEW = 20  # a column of so few words is never taken for names


class Table(NamedTuple):
  """A table as text."""

  name: str  # of its file, for messages
  names: tuple[str, ...]  # of the columns
  cells: tuple[tuple[str, ...], ...]  # by row
  lines: tuple[int, ...]  # of the file, by row

  def column(self, name: str) -> list[str]:
    """Returns the cells of a column."""
    place = self.names.index(name)
    return [row[place] for row in self.cells]

  def at(self, rows: Iterable[int]) -> Table:
    """Returns the table of some rows."""
    chosen = list(rows)
    return self._replace(
      cells=tuple(self.cells[i] for i in chosen), lines=tuple(self.lines[i] for i in chosen)
    )


def read_table(path: str | pathlib.Path) -> Table:
  """Reads a CSV file, plain or .gz, with commas, semicolons or tabs.

  The first line is a header if none of its cells is a number; otherwise the columns are called
  'column 1', 'column 2', ... Spaces around cells and empty lines are dropped.

  Raises:
    UserError: if the file cannot be read, is empty, or a row has another number of cells.
  """
  path = pathlib.Path(path).expanduser()
  try:
    zipped = path.suffix == '.gz'
    with (gzip.open if zipped else open)(path, 'rt', encoding='utf-8-sig', newline='') as file:
      text = file.read()
  except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
    raise UserError(f'The table {path} cannot be read ({error}); give another file.') from error
  first = text.partition('\n')[0]
  reader = csv.reader(text.splitlines(keepends=True), delimiter=max(',;\t', key=first.count))
  rows, lines = [], []
  try:
    for row in reader:
      cells = tuple(cell.strip() for cell in row)
      if any(cells):
        rows.append(cells)
        lines.append(reader.line_num)
  except csv.Error as error:
    raise UserError(f'{path}: line {reader.line_num} is no CSV ({error}); correct it.') from error
  names, start = _header(path, rows[0] if rows else ())
  if not rows[start:]:
    raise UserError(f'{path} has no rows; give a table with a row per example.')
  for cells, line in zip(rows, lines):
    if len(cells) != len(rows[0]):
      raise UserError(
        f'{path}: line {line} has {len(cells)} cells, but the first line has {len(rows[0])}; '
        'correct that line.'
      )
  return Table(path.name, names, tuple(rows[start:]), tuple(lines[start:]))


def _header(path: pathlib.Path, first: Sequence[str]) -> tuple[tuple[str, ...], int]:
  """Returns the names of the columns, and the number of header lines, 0 or 1."""
  numbered = tuple(f'column {i}' for i in range(1, len(first) + 1))
  if any(number(cell) is not None for cell in first):
    return numbered, 0
  names = tuple(name or other for name, other in zip(first, numbered))
  twice = [name for name, times in collections.Counter(names).items() if times > 1]
  if twice:
    raise UserError(f"{path} has two columns with the name '{twice[0]}'; rename one of them.")
  return names, 1


def number(cell: str) -> float | None:
  """Returns the finite number that a cell holds, None if it holds none."""
  try:
    value = float(cell)
  except ValueError:
    return None
  return value if math.isfinite(value) and '_' not in cell else None


def check_names(table: Table, names: Iterable[str], key: str) -> None:
  """Refuses names that are no columns of a table.

  Args:
    table: the table.
    names: of columns.
    key: the config key that has them, for the message.

  Raises:
    UserError: for the first unknown name.
  """
  for name in names:
    if name not in table.names:
      raise UserError(
        f"{table.name} has no column '{name}', which --config.{key} names"
        f'{did_you_mean(name, table.names)}'
      )


def check_whole(table: Table, names: Iterable[str]) -> None:
  """Refuses a table with a missing value in one of some columns.

  Raises:
    UserError: with the first missing value and the number of all.
  """
  found = [
    (line, name)
    for name in names
    for line, cell in zip(table.lines, table.column(name))
    if cell.lower() in MISSING
  ]
  if found:
    line, name = min(found)
    raise UserError(
      f"{table.name}: line {line} has no value in the column '{name}' ({len(found)} missing values "
      'in all); fill them in, or leave these rows or columns out.'
    )


def columns_of(table: Table, names: Sequence[str], training: Table) -> tuple[Column, ...]:
  """Returns how columns become numbers; a column is of numbers if all its cells are.

  Args:
    table: the whole table, without missing values in these columns.
    names: of the columns.
    training: its training rows, whose words count.

  Raises:
    UserError: for a column with words between numbers, or with as many words as names have.
  """
  return tuple(_column(table, name, training) for name in names)


def _column(table: Table, name: str, training: Table) -> Column:
  cells = table.column(name)
  words = [i for i, cell in enumerate(cells) if number(cell) is None]
  if not words:
    return Column(name)
  if len(words) < len(cells) / 2:
    raise UserError(
      f"{table.name}: line {table.lines[words[0]]} has '{cells[words[0]]}' in the column '{name}', "
      'where most rows have numbers; correct it, or leave the column out '
      f'(--config.data.leave_out="(\'{name}\',)").'
    )
  known = sorted(set(training.column(name)))
  if len(known) > max(FEW, len(training.cells) / 2):
    raise UserError(
      f"{table.name}: the column '{name}' has {len(known)} different words in "
      f'{len(training.cells)} training rows, which are names and no categories; leave it out '
      f'(--config.data.leave_out="(\'{name}\',)").'
    )
  return Column(name, tuple(known))


def wrong_cell(table: Table, row: int, columns: Sequence[Column]) -> str:
  """Returns why a row cannot become numbers, '' if it can."""
  for column in columns:
    cell = table.cells[row][table.names.index(column.name)]
    if cell.lower() in MISSING:
      return f"no value in the column '{column.name}'"
    if not column.words and number(cell) is None:
      return f"'{cell}' in the column '{column.name}' is not a number"
  return ''


def encode(table: Table, columns: Sequence[Column]) -> np.ndarray:
  """Returns the rows of a table as numbers.

  A word that is not among those of its column is all zeros, which is logged.

  Args:
    table: without cells that `wrong_cell` names.
    columns: how its columns become numbers.

  Returns:
    float32 `[N, F]`, F = 1 per column of numbers and 1 per word of the others.
  """
  parts: list[np.ndarray] = []
  for column in columns:
    cells = table.column(column.name)
    if column.words:
      parts += [np.asarray([cell == word for cell in cells], float) for word in column.words]
      new = sorted(set(cells) - set(column.words))
      if new:
        log.warning(
          "%s: the column '%s' has words that no training row has, which count as none: %s%s",
          table.name,
          column.name,
          ', '.join(new[:5]),
          ' ...' if len(new) > 5 else '',
        )
    else:
      parts.append(np.asarray([float(cell) for cell in cells], float))
  return np.stack(parts, axis=1).astype(np.float32)
