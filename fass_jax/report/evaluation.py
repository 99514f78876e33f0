"""Evaluates a finished run over its seeds, as a table and as JSON."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fass_jax.recipe.tasks import task_of
from fass_jax.report import judge as classify
from fass_jax.report import metrics, regression, shifts
from fass_jax.report.judge import Judge, Material
from fass_jax.report.tables import NORM, ROWS, open_rows, percent, plain
from fass_jax.report.tasks import report_of
from fass_jax.types import Dataset, PyTree, UserError
from fass_jax.workdir import files
from fass_jax.workdir.open import FinishedRun


def evaluate(
  config: ConfigDict,
  data: Dataset,
  judge: Judge,
  networks: Sequence[PyTree],
  how: str,
  seed: int,
  on_train: Judge | None = None,
) -> dict[str, Any]:
  """Fits a classifier per seed of a run and evaluates it in one pass over the test set.

  Args:
    config: config of the run.
    data: data set of the run.
    judge: the classifier on the run.
    networks: parameters and batch statistics per seed.
    how: '' for no shifted test sets; 'reweight' or 'resample' selects how they are made.
    seed: seed for 'resample'.
    on_train: the same with the training images in the place of the test set, for the figures
      `train_worst_class` and `worst_ratio`; None: they are left out.

  Returns:
    `classifier` and `args`; `runs`, with `seed`, `fitted`, `metrics`, `as_trained` and `shifts` per
    seed; `metrics` and `as_trained`, means over the seeds. With `how` also `shifts`: `how`,
    `columns`, `as_it_is` (without prior correction) and `known_prior` (corrected to the prior of
    the shifted set; None if the scores imply no prior), with one number per column.
  """
  classes = data.num_tested
  train, test = data.counts[:classes], np.bincount(data.test_labels, minlength=classes)
  groups = metrics.groups_of(config.eval, train)
  n = shifts.profiles(train, test, how == 'resample') if how else np.zeros((0, classes))
  chosen = shifts.resample(data.test_labels, n, seed) if how == 'resample' else None
  asked = n if how == 'resample' else np.broadcast_to(test, n.shape)
  count = judge.shifted(n / np.maximum(n.sum(1, keepdims=True), 1), chosen)
  seen = on_train and on_train.shifted(np.zeros((0, classes)), None)
  runs: list[dict[str, Any]] = []
  for k, variables in enumerate(networks):
    fitted = judge.fit(variables)
    counts, own, hits = jax.device_get(count(variables, fitted))
    runs.append(
      {
        'seed': config.seed + k,
        'fitted': classify.fitted_values(judge, fitted),
        'metrics': metrics.metrics(counts, groups)
        | classify.open_figures(judge, variables, fitted, config.eval.threshold),
        'as_trained': metrics.metrics(own, groups),
      }
    )
    if seen:
      _add_ratios(runs[-1], jax.device_get(seen(variables, fitted))[:2], groups)
    if how:
      parts = [shifts.figures(h, asked, n, groups) for h in hits]
      runs[-1]['shifts'] = {'as_it_is': parts[0], 'known_prior': parts[1] if parts[1:] else None}
  both = {part: _mean([r[part] for r in runs]) for part in ('metrics', 'as_trained')}
  found = {'classifier': config.classifier, 'args': config.classifier_args.to_dict(), **both}
  if how:
    names = [shift.name for shift in shifts.SHIFTS]
    found['shifts'] = {'how': how, 'columns': names, **_mean([r['shifts'] for r in runs])}
  return {**found, 'runs': runs}


def evaluate_numbers(
  run: FinishedRun, config: ConfigDict, data: Dataset, m: Material, networks: Sequence[PyTree]
) -> dict[str, Any]:
  """Evaluates a run that predicts numbers, in one pass over the test set per seed.

  Returns:
    `runs`, with `seed` and `metrics` per seed, see `regression.figures`; `metrics`, means.
  """
  report = report_of(config, data, task_of(config, run.preparation['scale']))
  runs = []
  for k, variables in enumerate(networks):
    sums = jax.device_get(m.fold(report.count, report.init(), variables, *m.test))
    runs.append({'seed': config.seed + k, 'metrics': report.figures(sums)})
  return {'metrics': regression.mean_of([r['metrics'] for r in runs]), 'runs': runs}


def _add_ratios(run: dict[str, Any], seen: Sequence[Any], groups: dict[str, np.ndarray]) -> None:
  """Adds the recall of the worst class in training, and the test set's over it, to both parts."""
  for part, counts in zip(('metrics', 'as_trained'), seen, strict=True):
    on_train = metrics.metrics(counts, groups)
    run[part]['train_worst_class'] = on_train['worst_class']
    run[part]['worst_ratio'] = metrics.worst_ratio(run[part], on_train)


def _mean(values: Sequence[Any]) -> Any:
  """Returns the mean of trees of dicts and lists with the same structure, number by number."""
  first = values[0]
  if isinstance(first, dict):
    return {k: _mean([v[k] for v in values]) for k in first}
  if isinstance(first, list):
    return [_mean(list(v)) for v in zip(*values, strict=True)]
  return None if first is None else float(np.mean(values))


def table(found: dict[str, Any]) -> str:
  """Returns a table of the metrics in percent, next to those of the network as trained."""
  new, own, runs = found['metrics'], found['as_trained'], found['runs']
  ece = next(k for k in new if k.startswith('ece_'))
  seeds = f', mean of {len(runs)} seeds' if len(runs) > 1 else ''
  fitted = [', '.join(f'{k} {v:.4g}' for k, v in run['fitted'].items()) for run in runs]
  lines = [
    f'{found["classifier"]}{seeds}' + (f' ({"; ".join(fitted)})' if any(fitted) else ''),
    f'{"":28}{found["classifier"]:>12}{"as trained":>12}',
    *(
      f'{label:28}{percent(new[key]):>12}{percent(own[key]):>12}'
      for key, label in (*ROWS, (ece, f'ECE ({ece[4:]} equal bins)'))
    ),
    f'{NORM:28}{plain(new["confusion_norm"]):>12}{plain(own["confusion_norm"]):>12}',
    f'{"NLL (nats)":28}{new["nll"]:>12.4f}{own["nll"]:>12.4f}',
    *(f'{label:28}{percent(new[key]):>12}' for key, label in open_rows(new)),
  ]
  if 'worst_ratio' in new:
    worst, ratio = ([x[key] for x in (new, own)] for key in ('train_worst_class', 'worst_ratio'))
    lines.append(f'{"worst class in training":28}{percent(worst[0]):>12}{percent(worst[1]):>12}')
    lines.append(f'{"worst class, test/training":28}{plain(ratio[0]):>12}{plain(ratio[1]):>12}')
  if 'shifts' in found:
    part = found['shifts']
    lines += ['', 'Shifted test sets (F forward, U uniform, B backward; imbalance ratio):']
    lines.append(shifts.table(part['as_it_is'], part['known_prior']))
    if part['known_prior'] is None:
      lines.append(
        '(no prior correction, because these scores are not probabilities; use --calibrate)'
      )
  return '\n'.join(lines)


def write(path: pathlib.Path, found: dict[str, Any]) -> None:
  """Writes the evaluation as JSON.

  Raises:
    UserError: if the file cannot be written.
  """
  try:
    files.write_json(path, found)
  except OSError as error:
    if files.is_full(error):
      raise
    raise UserError(
      f'{path} cannot be written ({error.strerror}); make the work directory writable, or copy it '
      'to a writable place.'
    ) from error
