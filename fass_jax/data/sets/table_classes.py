"""A table with a class per row: a user's CSV file, or scikit-learn's breast cancer set."""

from __future__ import annotations

import collections
import logging
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from fass_jax.counts import class_counts
from fass_jax.data.held_out import held_positions
from fass_jax.data.sets import table as tables
from fass_jax.data.sets.subset import long_tail_indices
from fass_jax.data.sets.table import Table
from fass_jax.types import Dataset, UserError

log = logging.getLogger(__name__)


def load_table(config: ConfigDict) -> Dataset:
  """Returns the rows of `data.file`, or of the built-in table if it is ''.

  `data.val_share` of the rows of each class, chosen by `data.subset_seed`, are for testing. Classes
  are in the order of their number of rows, the largest first. The training rows of the built-in
  table are cut to `imb_factor`; those of a file are all used.

  Args:
    config: the config; reads `imb_factor`, and `file`, `target`, `leave_out`, `val_share`,
      `profile` and `subset_seed` of the section `data`.

  Returns:
    Dataset of rows, float32 `[N, F]`; train_index is the position in the table.

  Raises:
    UserError: if the table cannot be read, has missing values, or its classes cannot be learned.
  """
  d = config.data
  table = tables.read_table(d.file) if d.file else breast_cancer()
  target, names = target_and_rest(table, d.target, d.leave_out)
  tables.check_whole(table, (*names, target))
  labels, classes = classes_of(table, target)
  test = held_positions(labels, d.val_share, d.subset_seed)
  if not len(test):
    raise UserError(
      f"{table.name}: no class of the column '{target}' has two rows, so no row can be held out "
      'for testing; add rows, or name another column with --config.data.target.'
    )
  train = np.setdiff1d(np.arange(len(labels)), test)
  if not d.file:
    n = class_counts(np.bincount(labels[train])[0], len(classes), config.imb_factor, d.profile)
    train = train[long_tail_indices(labels[train], n, d.subset_seed)]
  training = table.at(train)
  columns = tables.columns_of(table, names, training)
  return Dataset(
    name=table.name,
    train_images=tables.encode(training, columns),
    train_labels=labels[train],
    train_index=train.astype(np.int32),
    test_images=tables.encode(table.at(test), columns),
    test_labels=labels[test],
    class_names=classes,
    columns=columns,
  )


def target_and_rest(
  table: Table, target: str, leave_out: str | Sequence[str]
) -> tuple[str, list[str]]:
  """Returns the column that is predicted and those that are learned from."""
  out = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
  tables.check_names(table, (target,) if target else (), 'data.target')
  tables.check_names(table, out, 'data.leave_out')
  target = target or table.names[-1]
  names = [name for name in table.names if name not in (target, *out)]
  if target in out or not names:
    raise UserError(
      f"{table.name}: the label is in the column '{target}', and "
      f'--config.data.leave_out={out} leaves {len(names)} others to learn from; leave out fewer.'
    )
  return target, names


def classes_of(table: Table, target: str) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns the labels, int32 `[N]`, and the names of the classes, the largest first.

  Classes of equal size are in the order of their names.

  Raises:
    UserError: if there is one class, or nearly as many as rows.
  """
  cells = table.column(target)
  counts = collections.Counter(cells)
  if len(counts) < 2:
    raise UserError(
      f"{table.name}: the column '{target}' has only one class, '{cells[0]}'; name another column "
      'with --config.data.target.'
    )
  if len(counts) > max(tables.FEW, len(cells) / 2):
    raise UserError(
      f"{table.name}: the column '{target}' has {len(counts)} different values in {len(cells)} "
      'rows, which are no classes; name another column with --config.data.target.'
    )
  names = tuple(sorted(counts, key=lambda name: (-counts[name], name)))
  alone = [name for name in names if counts[name] == 1]
  if alone:
    log.info('Classes with one row, which have no test row: %s.', ', '.join(alone))
  number = {name: i for i, name in enumerate(names)}
  return np.asarray([number[cell] for cell in cells], np.int32), names


def breast_cancer() -> Table:
  """Returns scikit-learn's breast cancer set: 569 rows of 30 numbers, benign or malignant.

  Reference: Wolberg et al., Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning Repository
  1993, doi:10.24432/C5DW2B.
  """
  from sklearn import datasets  # late: importing it takes a second

  found = datasets.load_breast_cancer()
  cells = tuple(
    (*map(repr, row), str(found.target_names[label]))
    for row, label in zip(found.data.tolist(), found.target.tolist())
  )
  names = (*map(str, found.feature_names), 'class')
  return Table('breast_cancer', names, cells, tuple(range(2, len(cells) + 2)))
