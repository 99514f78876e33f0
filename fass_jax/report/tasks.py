"""What a report makes of a test set: sums over it, figures, tables and pictures, by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fass_jax.recipe.tasks import Task
from fass_jax.report import metrics, regression, tables
from fass_jax.types import Dataset, PyTree

Records = Sequence[dict[str, Any]]


class Report(NamedTuple):
  """A task's report on a run, bound to the run's data; figures are plain numbers by name."""

  init: Callable[[], PyTree]  # () -> sums
  count: Callable[..., PyTree]  # (sums, outs, labels, mask) -> sums, in a pass over the test set
  figures: Callable[[PyTree], dict[str, Any]]  # sums as host arrays -> figures
  better: Callable[[dict[str, Any], dict[str, Any]], bool]  # (figures, those of the best epoch)
  brief: Callable[[Records], tuple[str, str]]  # records of the seeds -> train and test in a word
  summary_table: Callable[[dict[str, Any]], str]
  group_table: Callable[[dict[str, Any]], str]
  # (folder, records, sums, score matrix or None): pictures of a finished run
  draw: Callable[..., None]


def _mean(values: Any) -> float:
  return float(np.mean([np.nan if v is None else v for v in values]))


def _classification(config: ConfigDict, data: Dataset, task: Task) -> Report:
  del task
  counts = data.counts[: data.num_tested]
  groups = metrics.groups_of(config.eval, counts)

  def brief(records: Records) -> tuple[str, str]:
    train = tables.percent(_mean(r['train_top1'] for r in records))
    if 'test' not in records[0]:
      return train, ''
    return train, f'test {tables.percent(_mean(r["test"]["top1"] for r in records))}'

  def draw(folder: Any, records: Records, sums: metrics.Counts, score: np.ndarray | None) -> None:
    from fass_jax.report import pictures  # late: matplotlib takes a second to import

    confusion, names = np.asarray(sums.confusion), data.class_names
    pictures.draw_all(folder, records, confusion, score, counts, groups, names)

  return Report(
    lambda: metrics.init_counts(data.num_tested, config.eval.ece_bins),
    metrics.count_outputs,
    lambda sums: metrics.metrics(sums, groups),
    lambda new, best: new['top1'] > best['top1'],
    brief,
    tables.summary_table,
    tables.group_table,
    draw,
  )


def _regression(config: ConfigDict, data: Dataset, task: Task) -> Report:
  test = regression.test_of(config.eval, data)

  def brief(records: Records) -> tuple[str, str]:
    train = f'MAE {_mean(r["train_mae"] for r in records):.4g}'
    if 'test' not in records[0]:
      return train, ''
    return train, f'test MAE {_mean(r["test"]["mae"] for r in records):.4g}'

  def draw(folder: Any, records: Records, sums: PyTree, score: np.ndarray | None) -> None:
    from fass_jax.report import regression_pictures  # late, as above

    del score
    regression_pictures.draw_all(folder, records, test, np.asarray(sums[0]))

  return Report(
    lambda: regression.init(len(test.values)),
    regression.counter(task),
    lambda sums: regression.figures(np.asarray(sums[0]), test),
    lambda new, best: new['mae'] < best['mae'],
    brief,
    regression.summary_table,
    regression.group_table,
    draw,
  )


# by the name of the task, see `recipe.tasks.TASKS`
REPORTS: dict[str, Callable[[ConfigDict, Dataset, Task], Report]] = {
  'classification': _classification,
  'regression': _regression,
}


def report_of(config: ConfigDict, data: Dataset, task: Task) -> Report:
  """Returns the report on a run.

  Args:
    config: reads the section `eval`.
    data: the run's data set.
    task: of the run.
  """
  return REPORTS[task.name](config, data, task)
