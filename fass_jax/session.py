"""What a command holds: its runs, data, programs, checkpoints; the loop itself is `train`."""

from __future__ import annotations

import functools
import logging
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from fass_jax import checkpoint, earlier, evaluate
from fass_jax import workdir as files
from fass_jax.data.load import load
from fass_jax.data.samplers import index_classes
from fass_jax.programs import Key, Program, chunk_length, quick_options
from fass_jax.recipe import Recipe, build
from fass_jax.state import TrainState
from fass_jax.step import draw_variables, init_state, init_tally, plan_epoch
from fass_jax.types import Dataset, Diverged, Look, PyTree, UserError
from fass_jax.views import Plan, Store

log = logging.getLogger('fass_jax')


class Lane(NamedTuple):
  """One run of the session: its seed, its folder, its state, and what it has come to."""

  seed: int
  folder: pathlib.Path
  state: TrainState
  best: PyTree  # params and batch_stats of the best epoch
  best_record: dict[str, Any] | None = None
  last_record: dict[str, Any] = {}


class Session(NamedTuple):
  """What a command holds beside the states of its runs."""

  config: ConfigDict
  workdir: pathlib.Path
  data: Dataset
  recipe: Recipe
  store: Store
  test: tuple[jax.Array, jax.Array]  # images, labels
  fold: evaluate.Fold
  test_fold: evaluate.Fold
  probe: Callable[..., np.ndarray]
  plan: Callable[..., Plan]
  tally: Callable[[], PyTree]  # the empty sums of an epoch
  manager: ocp.CheckpointManager
  chunk: int  # steps in a call of a program
  programs: dict[Key, Program]
  stop: Callable[[], str]  # '' or the name of the signal that asks to stop
  clock: dict[str, float]  # 'begin', 'before' (earlier processes), 'saved': seconds
  notes: dict[str, Any]  # what was decided once and is kept with the checkpoints


def open_session(config: ConfigDict, workdir: pathlib.Path, stop: Callable[[], str]) -> Session:
  """Loads the data, fills the slots and opens the work directory."""
  if config.seeds < 1:
    raise UserError(f'--config.seeds={config.seeds} is not at least 1.')
  files.prepare(workdir, config)
  data = load(config)
  recipe, teacher = _taught(config, data)
  engine = config.engine
  store = Store(
    jnp.asarray(data.train_images),
    jnp.asarray(data.train_labels, jnp.int32),
    index_classes(data.train_labels, recipe.num_classes),
    teacher,
  )
  return Session(
    config=config,
    workdir=workdir,
    data=data,
    recipe=recipe,
    store=store,
    test=(jnp.asarray(data.test_images), jnp.asarray(data.test_labels, jnp.int32)),
    fold=evaluate.make_fold(recipe, config.eval.batch_size),
    test_fold=evaluate.make_fold(recipe, config.eval.batch_size, lambda outs: outs),
    probe=evaluate.make_probe(recipe, config.eval.batch_size),
    plan=jax.jit(functools.partial(plan_epoch, recipe)),
    tally=jax.jit(functools.partial(init_tally, recipe)),
    manager=checkpoint.open_manager(workdir / 'checkpoints', config.checkpoint.keep),
    chunk=chunk_length(engine.chunk, recipe.steps_per_epoch, engine.unroll),
    programs={},
    stop=stop,
    clock={'begin': time.monotonic(), 'before': 0.0, 'saved': time.monotonic()},
    notes={},
  )


def _taught(config: ConfigDict, data: Dataset) -> tuple[Recipe, PyTree]:
  """Returns the recipe, and the variables of its teacher if it has one."""
  if not config.teacher.run:
    return build(config, data), None
  run = earlier.read(config.teacher.run, 'teacher.run')
  recipe = build(config, data, earlier.teacher_net(run))
  teacher = earlier.of_seed(run, config.seed)
  earlier.check_teacher(recipe, run, teacher, data.train_images.shape[1:])
  return recipe, teacher


def variables(state: TrainState) -> PyTree:
  """Returns a copy of what a network needs to predict; the state itself is donated."""
  return jax.tree.map(jnp.copy, {'params': state.params, 'batch_stats': state.batch_stats})


def fresh(s: Session, seeds: Sequence[int]) -> list[TrainState]:
  """Returns the states of runs that have done nothing."""
  shape = s.data.train_images.shape[1:]
  # apart from the rest, since every method of a network shares it
  draw = jax.jit(lambda key: draw_variables(s.recipe, key, shape), compiler_options=quick_options())
  fill = jax.jit(lambda key, drawn: init_state(s.recipe, key, shape, drawn))
  return [fill(jax.random.key(k), draw(jax.random.key(k))) for k in seeds]


def begin(s: Session) -> list[Lane]:
  """Returns the runs to go on with: of the newest checkpoint, or fresh ones.

  Raises:
    UserError: if fresh ones cannot start from the run that they are to start from.
  """
  n = s.config.seeds
  seeds = [s.config.seed + i for i in range(n)]
  folders = [s.workdir / f'seed{k}' if n > 1 else s.workdir for k in seeds]
  for folder in folders:
    folder.mkdir(exist_ok=True)

  def tree() -> PyTree:
    state = init_state(s.recipe, jax.random.key(0), s.data.train_images.shape[1:])
    return [{'state': state, 'best': variables(state)} for _ in seeds]

  found = checkpoint.restore(s.manager, tree)
  if found is None:
    for folder in folders:
      files.keep_metrics(folder, 0)
    states = fresh(s, seeds)
    if s.config.start.weights:
      states = earlier.from_weights(s.config, states)
    if s.config.start.run:
      run = earlier.read(s.config.start.run, 'start.run')
      states = [earlier.start_from(s.config, run, k, x) for k, x in zip(seeds, states)]
    return [Lane(k, f, x, variables(x)) for k, f, x in zip(seeds, folders, states)]
  step, trees, meta = found
  s.clock['before'] = meta['seconds']
  s.notes.update(meta['notes'])
  for folder in folders:
    files.keep_metrics(folder, step // s.recipe.steps_per_epoch)
  log.info('Resumed at step %d (epoch %d).', step, step // s.recipe.steps_per_epoch + 1)
  return [
    Lane(k, f, t['state'], t['best'], m['best'], m['last'])
    for k, f, t, m in zip(seeds, folders, trees, meta['lanes'])
  ]


def seconds(s: Session) -> float:
  """Returns the wall time of the run so far, over all processes that worked on it."""
  return s.clock['before'] + time.monotonic() - s.clock['begin']


def check_finite(s: Session, lanes: Sequence[Lane]) -> None:
  """Stops a run whose loss or gradient stopped being a number.

  Raises:
    Diverged: with the step, the likely cause and the last good checkpoint.
  """
  for bad, lane in zip(jax.device_get([x.state.tally['bad_step'] for x in lanes]), lanes):
    if bad < 0:
      continue
    latest = s.manager.latest_step()
    whose = f', seed {lane.seed}' if len(lanes) > 1 else ''
    kept = 'no checkpoint was written yet' if latest is None else f'checkpoint {latest} is kept'
    raise Diverged(
      f'The loss or its gradient was NaN or infinite at step {bad} (epoch '
      f'{bad // s.recipe.steps_per_epoch + 1}{whose}), most likely because the learning '
      f'rate is too high (--config.optim.lr={s.config.optim.lr}); lower it and start with a new '
      f'--workdir ({kept}).'
    )


def save(s: Session, lanes: Sequence[Lane]) -> None:
  """Saves the runs, unless their numbers went bad."""
  check_finite(s, lanes)
  meta = {
    'seconds': seconds(s),
    'notes': s.notes,
    'lanes': [{'best': x.best_record, 'last': x.last_record} for x in lanes],
  }
  trees = [{'state': x.state, 'best': x.best} for x in lanes]
  checkpoint.save(s.manager, int(lanes[0].state.step), trees, files.jsonable(meta))
  s.clock['saved'] = time.monotonic()


def due(s: Session, before: int, step: int) -> bool:
  """Says whether a checkpoint is due after the steps from `before` to `step`, or the seconds."""
  c = s.config.checkpoint
  by_step = c.every_steps > 0 and step // c.every_steps > before // c.every_steps
  return by_step or (c.every_s > 0 and time.monotonic() - s.clock['saved'] >= c.every_s)


def look(s: Session, now: PyTree) -> Look:
  """Returns how a signal may look at the network between two epochs."""

  def probe(key, rng, classes, op, strengths):
    index = np.asarray(s.store.classes.start)[classes] + (
      rng.random(len(classes)) * np.asarray(s.store.classes.count)[classes]
    ).astype(np.int64)
    return s.probe(key, np.asarray(s.store.classes.order)[index], op, strengths, now, s.store)

  return Look(lambda observe, acc: s.fold(observe, acc, now, s.store.images, s.store.labels), probe)


def test_arguments(s: Session, now: PyTree) -> tuple[Any, ...]:
  """Returns what `test_fold` takes for the counts of the test set."""
  empty = evaluate.init_counts(s.recipe.num_classes, s.config.eval.ece_bins)
  return evaluate.count_outputs, empty, now, *s.test


def test_counts(s: Session, now: PyTree) -> evaluate.Counts:
  """Evaluates on the test set; the counts stay on the device."""
  return s.test_fold(*test_arguments(s, now))


def test_metrics(s: Session, counts: evaluate.Counts) -> dict[str, Any]:
  """Returns the metrics of a test set's counts."""
  return evaluate.metrics(counts, train_counts(s), s.config.eval.many, s.config.eval.few)


# names that pytest takes for tests
test_counts.__test__ = test_metrics.__test__ = False  # type: ignore[attr-defined]
test_arguments.__test__ = False  # type: ignore[attr-defined]


def train_counts(s: Session) -> np.ndarray:
  """Returns the training images per class, `[C]`."""
  return np.bincount(s.data.train_labels, minlength=s.recipe.num_classes)


def epoch_record(s: Session, tally: PyTree, epoch: int, took: float) -> dict[str, Any]:
  """Turns the sums of an epoch (host arrays) into its record."""
  groups = evaluate.shot_groups(train_counts(s), s.config.eval.many, s.config.eval.few)
  steps = s.recipe.steps_per_epoch
  return {
    'epoch': epoch + 1,
    'step': (epoch + 1) * steps,
    'lr': float(tally['lr']),
    'loss': float(tally['loss']) / steps,
    'terms': {
      n: float(v['sum'] / v['steps']) if v['steps'] else None for n, v in tally['terms'].items()
    },
    'train_top1': float(tally['correct']) / max(float(tally['seen']), 1.0),
    'mixed': evaluate.mixing_diagnostics(tally['mixed'], groups),
    'seconds': took,
    'images_per_s': s.config.seeds * steps * s.recipe.batch_size / took,
  }


def summarise(s: Session, lane: Lane) -> dict[str, Any]:
  """Returns the summary of a finished run."""
  assert lane.best_record is not None
  last, best = lane.last_record, lane.best_record
  return {
    'name': s.config.name,
    'method': s.config.method,
    'seed': lane.seed,
    'epochs': s.recipe.epochs,
    'last': {'epoch': last['epoch'], **last['test']},
    'best': {'epoch': best['epoch'], **best['test']},
    'wall_s': seconds(s),
    'device': jax.devices()[0].device_kind,
  }


def last_look(s: Session, lane: Lane) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns the confusion matrix of the last epoch and the score matrix, if one was kept."""
  state = lane.state
  now = {'params': state.params, 'batch_stats': state.batch_stats}
  score = [v.matrix for v in state.signals.values() if hasattr(v, 'matrix')]
  return np.asarray(test_counts(s, now).confusion), np.asarray(score[0]) if score else None
