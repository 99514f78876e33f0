"""A run's belongings: data and programs, checkpoints, records; the loop itself is `train`."""

from __future__ import annotations

import functools
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from fass_jax import checkpoint, evaluate
from fass_jax import workdir as files
from fass_jax.data.load import load
from fass_jax.data.samplers import index_classes
from fass_jax.recipe import Recipe, build
from fass_jax.state import TrainState
from fass_jax.step import Plan, Store, clock, init_state, plan_epoch
from fass_jax.types import Dataset, PyTree, UserError

log = logging.getLogger('fass_jax')


class Session(NamedTuple):
  """What a run holds beside its state."""

  config: ConfigDict
  workdir: pathlib.Path
  data: Dataset
  recipe: Recipe
  store: Store
  test: tuple[jax.Array, jax.Array]  # images, labels
  fold: Callable[..., PyTree]
  plan: Callable[..., Plan]
  manager: ocp.CheckpointManager
  programs: dict[tuple[str, ...], Callable[..., Any]]
  stop: Callable[[], str]  # '' or the name of the signal that asks to stop
  clock: dict[str, float]  # 'begin', 'before' (earlier processes), 'saved': seconds


class Progress(NamedTuple):
  """What a run has come to, beside its state."""

  best: PyTree  # params and batch_stats of the best epoch
  best_record: dict[str, Any] | None
  last_record: dict[str, Any] | None


def open_session(config: ConfigDict, workdir: pathlib.Path, stop: Callable[[], str]) -> Session:
  """Loads the data, fills the slots and opens the work directory."""
  files.prepare(workdir, config)
  data = load(config)
  recipe = build(config, data)
  store = Store(
    jnp.asarray(data.train_images),
    jnp.asarray(data.train_labels, jnp.int32),
    index_classes(data.train_labels, recipe.num_classes),
  )
  return Session(
    config=config,
    workdir=workdir,
    data=data,
    recipe=recipe,
    store=store,
    test=(jnp.asarray(data.test_images), jnp.asarray(data.test_labels, jnp.int32)),
    fold=evaluate.make_fold(recipe, config.eval.batch_size),
    plan=jax.jit(functools.partial(plan_epoch, recipe)),
    manager=checkpoint.open_manager(workdir / 'checkpoints', config.checkpoint.keep),
    programs={},
    stop=stop,
    clock={'begin': time.monotonic(), 'before': 0.0, 'saved': time.monotonic()},
  )


def variables(state: TrainState) -> PyTree:
  """Returns a copy of what a network needs to predict; the state itself is donated."""
  return jax.tree.map(jnp.copy, {'params': state.params, 'batch_stats': state.batch_stats})


def begin(s: Session) -> tuple[TrainState, Progress]:
  """Returns the state to go on from: of the newest checkpoint, or a fresh one."""
  height, width, channels = s.store.images.shape[1:]
  shape = (height, width, channels)

  def fresh() -> PyTree:
    state = init_state(s.recipe, jax.random.key(s.config.seed), shape)
    return {'state': state, 'best': {'params': state.params, 'batch_stats': state.batch_stats}}

  found = checkpoint.restore(s.manager, fresh)
  if found is None:
    files.keep_metrics(s.workdir, 0)
    state = jax.jit(lambda: fresh()['state'])()
    return state, Progress(variables(state), None, None)
  step, tree, meta = found
  s.clock['before'] = meta['seconds']
  files.keep_metrics(s.workdir, step // s.recipe.steps_per_epoch)
  log.info('Resumed at step %d (epoch %d).', step, step // s.recipe.steps_per_epoch + 1)
  return tree['state'], Progress(tree['best'], meta['best'], meta['last'])


def seconds(s: Session) -> float:
  """Returns the wall time of the run so far, over all processes that worked on it."""
  return s.clock['before'] + time.monotonic() - s.clock['begin']


def check_finite(s: Session, state: TrainState) -> None:
  """Stops a run whose loss or gradient stopped being a number.

  Raises:
    UserError: with the step, the likely cause and the last good checkpoint.
  """
  bad = int(state.tally['bad_step'])
  if bad >= 0:
    latest = s.manager.latest_step()
    kept = 'no checkpoint was written yet' if latest is None else f'checkpoint {latest} is kept'
    raise UserError(
      f'The loss or its gradient was NaN or infinite at step {bad} (epoch '
      f'{bad // s.recipe.steps_per_epoch + 1}), most likely because the learning rate is too high '
      f'(--config.optim.lr={s.config.optim.lr}); lower it and start with a new --workdir ({kept}).'
    )


def save(s: Session, state: TrainState, progress: Progress) -> None:
  """Saves the run, unless its numbers went bad."""
  check_finite(s, state)
  meta = {
    'seconds': seconds(s),
    'best': progress.best_record,
    'last': progress.last_record,
  }
  tree = {'state': state, 'best': progress.best}
  checkpoint.save(s.manager, int(state.step), tree, files.jsonable(meta))
  s.clock['saved'] = time.monotonic()


def due(s: Session, step: int) -> bool:
  """Says whether a checkpoint is due: every so many steps or seconds."""
  c = s.config.checkpoint
  by_step = c.every_steps > 0 and step % c.every_steps == 0
  return by_step or (c.every_s > 0 and time.monotonic() - s.clock['saved'] >= c.every_s)


def fold_over(
  s: Session, now: PyTree, images_labels: tuple, observe: Callable[..., PyTree], acc: PyTree
) -> PyTree:
  """Passes a set through the network in evaluation mode, see `evaluate.make_fold`."""
  return s.fold(observe, acc, now, *images_labels)


def test_metrics(s: Session, now: PyTree) -> tuple[dict[str, Any], evaluate.Counts]:
  """Evaluates on the test set: the metrics, and the counts they come from."""
  e = s.config.eval
  empty = evaluate.init_counts(s.recipe.num_classes, e.ece_bins)
  counts = jax.device_get(fold_over(s, now, s.test, evaluate.count, empty))
  return evaluate.metrics(counts, train_counts(s), e.many, e.few), counts


test_metrics.__test__ = False  # type: ignore[attr-defined]


def train_counts(s: Session) -> np.ndarray:
  """Returns the training images per class, `[C]`."""
  return np.bincount(s.data.train_labels, minlength=s.recipe.num_classes)


def epoch_record(s: Session, state: TrainState, epoch: int, took: float) -> dict[str, Any]:
  """Turns the sums of an epoch into its record."""
  tally = jax.device_get(state.tally)
  groups = evaluate.shot_groups(train_counts(s), s.config.eval.many, s.config.eval.few)
  time_ = clock(s.recipe, jnp.asarray(epoch * s.recipe.steps_per_epoch))
  seen = float(tally['seen'])
  return {
    'epoch': epoch + 1,
    'step': int(state.step),
    'lr': float(s.recipe.learning_rate(time_)),
    'loss': float(tally['loss']) / s.recipe.steps_per_epoch,
    'terms': {
      n: float(v['sum'] / v['steps']) if v['steps'] else None for n, v in tally['terms'].items()
    },
    'train_top1': float(tally['correct']) / max(seen, 1.0),
    'mixed': evaluate.mixing_diagnostics(tally['mixed'], groups),
    'seconds': took,
    'images_per_s': s.recipe.steps_per_epoch * s.recipe.batch_size / took,
  }


def summarise(s: Session, progress: Progress) -> dict[str, Any]:
  """Returns the summary of a finished run."""
  assert progress.last_record is not None and progress.best_record is not None
  last, best = progress.last_record, progress.best_record
  return {
    'name': s.config.name,
    'method': s.config.method,
    'seed': s.config.seed,
    'epochs': s.recipe.epochs,
    'last': {'epoch': last['epoch'], **last['test']},
    'best': {'epoch': best['epoch'], **best['test']},
    'wall_s': seconds(s),
    'device': jax.devices()[0].device_kind,
  }


def last_look(s: Session, state: TrainState) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns the confusion matrix of the last epoch and the score matrix, if one was kept."""
  now = {'params': state.params, 'batch_stats': state.batch_stats}
  confusion = np.asarray(test_metrics(s, now)[1].confusion)
  score = [v.matrix for v in state.signals.values() if hasattr(v, 'matrix')]
  return confusion, np.asarray(score[0]) if score else None
