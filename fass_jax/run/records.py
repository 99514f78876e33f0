"""Records per epoch, and the summary at the end of a run."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from fass_jax.report import judge, metrics
from fass_jax.run.resume import seconds
from fass_jax.run.session import SeedRun, Session, counts_on_test_set
from fass_jax.types import PyTree


def metrics_on_test_set(s: Session, sums: PyTree) -> dict[str, Any]:
  """Returns the figures from the sums over the test set."""
  return s.report.figures(sums)


def train_counts(s: Session) -> np.ndarray:
  """Returns the training images per tested class, `[T]`."""
  return s.data.counts[: s.data.num_tested]


def epoch_record(s: Session, tally: PyTree, epoch: int, took: float) -> dict[str, Any]:
  """Returns the record of an epoch from its sums (host arrays)."""
  groups = metrics.groups_of(s.config.eval, train_counts(s))
  steps = s.recipe.steps_per_epoch
  return {
    'epoch': epoch + 1,
    'step': (epoch + 1) * steps,
    'lr': float(tally['lr']),
    'loss': float(tally['loss']) / steps,
    'terms': {
      n: float(v['sum'] / v['steps']) if v['steps'] else None for n, v in tally['terms'].items()
    },
    **{
      mean: float(tally[name]) / max(float(tally['seen']), 1.0)
      for name, mean in s.recipe.task.means.items()
    },
    'mixed': metrics.mixing_diagnostics(tally['mixed'], groups),
    'seconds': took,
    'images_per_s': s.config.seeds * steps * s.recipe.batch_size / took,
    # share of the epoch's time that the device waited for images
    **({'input_bound': s.clock['starved'] / took} if s.reader else {}),
  }


def summarise(s: Session, seed_run: SeedRun) -> dict[str, Any]:
  """Returns the summary of a finished seed."""
  assert seed_run.best_record is not None
  last, best = seed_run.last_record, seed_run.best_record
  return {
    'name': s.config.name,
    'method': s.config.method,
    'seed': seed_run.seed,
    'epochs': s.recipe.epochs,
    'last': {'epoch': last['epoch'], **last['test']},
    'best': {'epoch': best['epoch'], **best['test']},
    'wall_s': seconds(s),
    'device': jax.devices()[0].device_kind,
  }


def end_of(s: Session, seed_run: SeedRun) -> tuple[dict[str, Any], PyTree, np.ndarray | None]:
  """Returns a finished seed's summary, last sums over the test set, and score matrix or None.

  With a test-time classifier (`config.classifier`), summary and sums are those of the
  classifier, fitted to the last parameters and to those of the best epoch. The metrics of the
  network as trained are in `as_trained`; they determine the best epoch.
  """
  state, summary = seed_run.state, summarise(s, seed_run)
  score = [v.matrix for v in state.signals.values() if hasattr(v, 'matrix')]
  matrix = np.asarray(score[0]) if score else None
  last = {'params': state.params, 'batch_stats': state.batch_stats}
  if s.judge is None:
    return summary, jax.device_get(counts_on_test_set(s, last)), matrix
  own = {part: summary[part] for part in ('last', 'best')}
  fitted, sums = {}, None
  for part, variables in (('last', last), ('best', seed_run.best)):
    arrays = s.judge.fit(variables)
    counts = jax.device_get(s.judge.counts(variables, arrays))
    sums = counts if sums is None else sums
    fitted[part] = judge.fitted_values(s.judge, arrays)
    summary[part] = {
      'epoch': own[part]['epoch'],
      **metrics_on_test_set(s, counts),
      **judge.open_figures(s.judge, variables, arrays, s.config.eval.threshold),
    }
  if not judge.replaces_own(s.config, s.judge.classifier):
    return summary, sums, matrix
  fitted_values = {'classifier': s.config.classifier, 'fitted': fitted, 'as_trained': own}
  return {**summary, **fitted_values}, sums, matrix
