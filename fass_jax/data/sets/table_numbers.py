"""A table with a number per row to predict: a user's CSV file, diabetes or abalone."""

from __future__ import annotations

import pathlib

import numpy as np
from ml_collections import ConfigDict

from fass_jax.data import numbers
from fass_jax.data.sets import table as tables
from fass_jax.data.sets.table import Table
from fass_jax.data.sets.table_classes import target_and_rest
from fass_jax.types import Dataset, UserError

# UCI's file has no header
ABALONE = ('sex', 'length', 'diameter', 'height', 'whole weight', 'shucked weight',
           'viscera weight', 'shell weight', 'rings')  # fmt: skip


def load_diabetes(config: ConfigDict) -> Dataset:
  """Returns scikit-learn's diabetes set: 442 rows of 10 numbers, and how the disease progressed.

  Reference: Efron et al., Least Angle Regression, Annals of Statistics 32, 2004.
  """
  from sklearn import datasets  # late: importing it takes a second

  found = datasets.load_diabetes(scaled=False)
  cells = tuple(
    tuple(map(repr, (*row, label)))
    for row, label in zip(found.data.tolist(), found.target.tolist())
  )
  names = (*map(str, found.feature_names), 'progression')
  return of_table(config, Table('diabetes', names, cells, tuple(range(2, len(cells) + 2))))


def load_abalone(config: ConfigDict) -> Dataset:
  """Returns UCI's abalone, 4,177 rows: the rings of a shell from its sex and seven measures.

  Reference: Nash et al., Abalone, UCI Machine Learning Repository 1995, doi:10.24432/C55C7W.

  Raises:
    UserError: if abalone.csv, abalone.csv.gz or abalone.data is not in `data.dir`.
  """
  folder = pathlib.Path(config.data.dir).expanduser()
  names = ('abalone.csv', 'abalone.csv.gz', 'abalone.data')
  found = [folder / name for name in names if (folder / name).is_file()]
  if not config.data.dir or not found:
    raise UserError(
      f'--config.data.dir={config.data.dir or "(not given)"} has no abalone.csv; give the folder '
      "with UCI's file (abalone.csv, abalone.csv.gz or abalone.data)."
    )
  table = tables.read_table(found[0])
  if table.names[0] != 'column 1':
    return of_table(config, table)
  if len(table.names) != len(ABALONE):
    raise UserError(
      f'{found[0]} has {len(table.names)} columns, but abalone has {len(ABALONE)}; give the whole '
      'file.'
    )
  return of_table(config, table._replace(names=ABALONE))


def load_numbers(config: ConfigDict) -> Dataset:
  """Returns the rows of `data.file`, whose column `data.target` holds numbers."""
  if not config.data.file:
    raise UserError(
      'A table of numbers to predict needs --config.data.file=FILE, a CSV file; '
      "scikit-learn's diabetes is configs/diabetes.py."
    )
  return of_table(config, tables.read_table(config.data.file))


def of_table(config: ConfigDict, table: Table) -> Dataset:
  """Returns the rows of a table; `data.val_share` of them, at random, are for testing.

  Args:
    config: reads `target`, `leave_out`, `val_share`, `subset_seed`, `bin_width` and `label_range`
      of the section `data`.
    table: with the label in one column.

  Returns:
    Dataset of rows, float32 `[N, F]`; train_index is the position in the table.

  Raises:
    UserError: if a label is no number or outside the bins, or a value is missing.
  """
  d = config.data
  target, names = target_and_rest(table, d.target, d.leave_out)
  places = [f'line {line}' for line in table.lines]
  what = f"{table.name}: the column '{target}'"
  values = numbers.read(table.column(target), places, what)
  tables.check_whole(table, names)
  bins = numbers.bins_of(values, places, what, d)
  train, test = numbers.split(len(values), d.val_share, d.subset_seed)
  if not len(test):
    raise UserError(
      f'{table.name} has {len(values)} rows, of which --config.data.val_share={d.val_share:g} '
      'holds out none for testing; add rows.'
    )
  training = table.at(train)
  columns = tables.columns_of(table, names, training)
  return Dataset(
    name=table.name,
    train_images=tables.encode(training, columns),
    train_labels=bins.of(values[train]),
    train_index=train.astype(np.int32),
    test_images=tables.encode(table.at(test), columns),
    test_labels=bins.of(values[test]),
    class_names=bins.names(),
    columns=columns,
    train_values=values[train].astype(np.float32),
    test_values=values[test].astype(np.float32),
  )
