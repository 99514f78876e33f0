"""The figures and tables of a run that predicts numbers, in the unit of the label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fass_jax.recipe.tasks import Task
from fass_jax.regression.figures import GROUPS, LEAST, errors_by_shot, shots
from fass_jax.report.tables import spread
from fass_jax.types import Array, Dataset, Outputs, PyTree

FIGURES = ('mae', 'mse', 'rmse', 'gm', 'pearson', 'spearman')
LABELS = {'mae': 'MAE', 'mse': 'MSE', 'rmse': 'RMSE', 'gm': 'GM',
          'pearson': 'Pearson', 'spearman': 'Spearman'}  # fmt: skip
NOTE = f'(GM: an error below {LEAST:g} counts as {LEAST:g})'
DENSITY = 'error and density, Pearson'


class Test(NamedTuple):
  """What predictions on a test set are compared with."""

  values: np.ndarray  # float32 [M]
  bins: np.ndarray  # int [M]
  counts: np.ndarray  # int [bins], training examples
  groups: dict[str, np.ndarray]  # bool [M], by the training examples of the label's bin
  names: tuple[str, ...]  # of the bins


def test_of(e: Any, data: Dataset) -> Test:
  """Returns the test set of a run, in the groups that the section `eval` asks for."""
  assert data.test_values is not None
  groups = shots(data.test_labels, data.counts, e.many, e.few, e.shots == 'auto')
  return Test(data.test_values, data.test_labels, data.counts, groups, data.class_names)


def init(size: int) -> PyTree:
  """Returns the place of `size` predictions, and the number of those that are there."""
  return jnp.zeros((size,), float), jnp.zeros((), jnp.int32)


def counter(task: Task) -> Callable[..., PyTree]:
  """Returns `(kept, outs, labels, mask) -> kept`: it keeps the predictions in the set's order."""
  assert task.values is not None
  answers = task.values

  def keep(kept: PyTree, outs: Outputs, labels: Array, mask: Array) -> PyTree:
    del labels
    found, start = kept
    # padding rows get a position beyond the end, where the update is dropped
    place = jnp.where(mask, start + jnp.arange(len(mask)), len(found))
    return found.at[place].set(answers(outs), mode='drop'), start + len(mask)

  return keep


def error_by_bin(predictions: np.ndarray, test: Test) -> np.ndarray:
  """Returns the mean absolute error per bin, float `[bins]`; NaN for a bin without test example."""
  size = len(test.counts)
  total = np.bincount(test.bins, np.abs(predictions - test.values), size)
  with np.errstate(invalid='ignore'):
    return total / np.bincount(test.bins, minlength=size)


def figures(predictions: np.ndarray, test: Test) -> dict[str, Any]:
  """Returns the figures of some predictions.

  Returns:
    `mae`, `mse`, `rmse`, `gm`, `pearson`, `spearman` of all, and the same of a group as
    `many_mae`, ...; `error_density`: the correlation over the bins of the error and the number of
    training examples, which is negative where rare labels are predicted worse; `gm_least`, see
    `errors`; `count` and `many_count`, ..., test examples; `per_bin`, mean absolute errors.
  """
  found = errors_by_shot(predictions, test.values, test.groups)
  flat: dict[str, Any] = {}
  for group in GROUPS:
    before = '' if group == 'all' else f'{group}_'
    flat |= {f'{before}{name}': value for name, value in found[group].items()}
  by_bin = error_by_bin(predictions, test)
  there = np.isfinite(by_bin)
  both = by_bin[there], test.counts[there].astype(float)
  varied = there.sum() > 1 and all(np.ptp(x) > 0 for x in both)
  density = float(np.corrcoef(*both)[0, 1]) if varied else float('nan')
  per_bin = [float(x) for x in by_bin]
  return {**flat, 'error_density': density, 'gm_least': LEAST, 'per_bin': per_bin}


def _plain(value: float | None) -> str:
  return '-' if value is None or not np.isfinite(value) else f'{value:.4g}'


def _key(group: str, name: str) -> str:
  return name if group == 'all' else f'{group}_{name}'


def _block(title: str, of: dict[str, Any]) -> list[str]:
  """Returns a table with a line per figure and a column per group."""
  lines = [f'{title:28}' + ''.join(f'{g:>10}' for g in GROUPS)]
  counts = [of.get(_key(g, 'count')) for g in GROUPS]
  if all(n is not None for n in counts):
    lines.append(f'{"  test examples":28}' + ''.join(f'{n:>10.0f}' for n in counts))
  lines += [
    f'  {LABELS[name]:26}' + ''.join(f'{_plain(of[_key(g, name)]):>10}' for g in GROUPS)
    for name in FIGURES
  ]
  return [*lines, f'  {DENSITY:26}{_plain(of["error_density"]):>10}']


def summary_table(summary: dict[str, Any]) -> str:
  """Returns a table of the figures of the last and the best epoch, in the label's unit."""
  last, best = summary['last'], summary['best']
  return '\n'.join(
    [
      *_block(f'last epoch ({last["epoch"]})', last),
      *_block(f'best epoch ({best["epoch"]})', best),
      '(best: the epoch with the lowest MAE of all, chosen on the test set)',
      NOTE,
    ]
  )


def group_table(group: dict[str, Any]) -> str:
  """Returns a table of the figures over several seeds, of the last and the best epoch."""
  n = len(group['seeds'])

  def cell(v: dict[str, float]) -> str:
    if not np.isfinite(v['mean']):
      return f'{"-":>9}{"":10}'
    return f'{_plain(v["mean"]):>9} ± {_plain(v["sd"]):<7}'

  lines = []
  for part in ('last', 'best'):
    lines.append(
      f'{f"{part} epoch, {n} seeds: mean ± sd":34}' + ''.join(f'{g:<19}' for g in GROUPS)
    )
    lines += [
      (f'  {LABELS[name]:22}' + ''.join(cell(group[part][_key(g, name)]) for g in GROUPS)).rstrip()
      for name in FIGURES
    ]
  return '\n'.join([*lines, NOTE])


def mean_of(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Returns the mean of the figures of several seeds."""
  names = [k for k, v in runs[0].items() if isinstance(v, int | float)]
  return {k: spread([r[k] for r in runs])['mean'] for k in names}


def evaluation_table(found: dict[str, Any]) -> str:
  """Returns a table of an evaluation: the mean of the figures over the seeds."""
  n = len(found['runs'])
  title = f'mean of {n} seeds' if n > 1 else found['at']
  return '\n'.join([*_block(title, found['metrics']), NOTE])
