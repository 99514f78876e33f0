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

from fass_jax import checkpoint, classify, devices, earlier, feed, metrics, passes, shown
from fass_jax import workdir as files
from fass_jax.data.load import load
from fass_jax.data.samplers import index_classes
from fass_jax.data.store import keep
from fass_jax.data.streaming import Reader
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
  teacher: PyTree = None  # params and batch_stats of the network that teaches this seed
  best_record: dict[str, Any] | None = None
  last_record: dict[str, Any] = {}


class Session(NamedTuple):
  """What a command holds beside the states of its runs."""

  config: ConfigDict
  workdir: pathlib.Path
  data: Dataset
  recipe: Recipe
  store: Store  # without a teacher: each run may have its own
  teachers: list[PyTree]  # by seed
  reader: Reader | None  # the training images, where they are decoded when they are needed
  cut: feed.Cut  # how they are cut then
  test: tuple[jax.Array | Reader, jax.Array]  # images, labels
  fold: passes.Fold
  test_fold: passes.Fold
  probe: Callable[..., np.ndarray]
  plan: Callable[..., Plan]
  tally: Callable[[], PyTree]  # the empty sums of an epoch
  manager: ocp.CheckpointManager
  chunk: int  # steps in a call of a program
  programs: dict[Key, Program]
  stop: Callable[[int], str]  # before a step: '' or the name of the signal that asks to stop
  clock: dict[str, float]  # 'begin', 'before' (earlier processes), 'saved': seconds
  notes: dict[str, Any]  # what was decided once and is kept with the checkpoints
  judge: classify.Judge | None  # the classifier at the end, where it is not the network's own


def open_session(config: ConfigDict, workdir: pathlib.Path, stop: Callable[[], str]) -> Session:
  """Loads the data, fills the slots and opens the work directory."""
  if config.seeds < 1:
    raise UserError(f'--config.seeds={config.seeds} is not at least 1.')
  devices.first_alone(lambda: files.prepare(workdir, config))
  loaded = devices.first_before_others(lambda: load(config))
  kept = keep(config, loaded)
  data, train = kept.data, kept.train
  recipe, teachers = _taught(config, data, workdir)
  where, engine, d = recipe.where, config.engine, config.data
  classes = index_classes(data.train_labels, recipe.num_classes)
  store = None if train else data.train_images, np.int32(data.train_labels), classes
  kept_there = Store(*devices.copy(store, where))
  test = (kept.test or devices.copy(data.test_images, where),
          devices.copy(np.int32(data.test_labels), where))  # fmt: skip
  test_fold = passes.make_fold(recipe, config.eval.batch_size, lambda outs: outs, d.centre)
  # now, so that a mistake is not found at the end
  judge = classify.of_run(config, kept, recipe, test_fold, (train or kept_there.images,
                          kept_there.labels), test)  # fmt: skip
  chunk = chunk_length(engine.chunk, recipe.steps_per_epoch, engine.unroll)
  return Session(
    config=config,
    workdir=workdir,
    data=data,
    recipe=recipe,
    store=kept_there,
    teachers=teachers,
    reader=train,
    cut=feed.Cut(tuple(d.crop_area), d.centre),
    test=test,
    fold=passes.make_fold(recipe, config.eval.batch_size, share=d.centre),
    test_fold=test_fold,
    probe=passes.make_probe(recipe, config.eval.batch_size),
    plan=jax.jit(functools.partial(plan_epoch, recipe), out_shardings=where.whole),
    tally=jax.jit(functools.partial(init_tally, recipe), out_shardings=where.whole),
    manager=checkpoint.open_manager(workdir / 'checkpoints', config.checkpoint.keep),
    chunk=1 if train else chunk,  # the pixels of a step come with it
    programs={},
    stop=devices.agreed_stop(stop),
    clock={'begin': time.monotonic(), 'before': 0.0, 'saved': time.monotonic(), 'starved': 0.0},
    notes={
      'classes': list(data.class_names),
      'counts': np.bincount(data.train_labels).tolist(),
      **shown.how(config, loaded, recipe.normalise),
    },
    judge=judge,
  )


def _taught(
  config: ConfigDict, data: Dataset, workdir: pathlib.Path
) -> tuple[Recipe, list[PyTree]]:
  """Returns the recipe, and for each seed the variables of its teacher if there is one."""
  where = devices.place(config.engine.devices)
  if not config.teacher.run:
    return build(config, data)._replace(where=where), [None] * config.seeds
  run = earlier.named(config, 'teacher', workdir)
  recipe = build(config, data, earlier.teacher_net(run))
  earlier.check_teacher(recipe, run, run.lanes[0], data.image_shape)
  return recipe._replace(where=where), earlier.of_seeds(run, config.seed, config.seeds, where)


def variables(state: TrainState) -> PyTree:
  """Returns a copy of what a network needs to predict; the state itself is donated."""
  return jax.tree.map(jnp.copy, {'params': state.params, 'batch_stats': state.batch_stats})


def fresh(s: Session, seeds: Sequence[int]) -> list[TrainState]:
  """Returns the states of runs that have done nothing."""
  shape = s.data.image_shape
  where = s.recipe.where
  # apart from the rest, since every method of a network shares it
  draw = jax.jit(
    lambda key: draw_variables(s.recipe, key, shape), out_shardings=where.whole,
    compiler_options=quick_options(),
  )  # fmt: skip
  fill = jax.jit(lambda key, drawn: init_state(s.recipe, key, shape, drawn),
                 out_shardings=where.whole)  # fmt: skip
  keys = [devices.key(k, where) for k in seeds]
  return [fill(key, draw(key)) for key in keys]


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
    state = init_state(s.recipe, jax.random.key(0), s.data.image_shape)
    return [{'state': state, 'best': variables(state)} for _ in seeds]

  found = checkpoint.restore(s.manager, tree, s.recipe.where)
  if found is None:
    _keep_metrics(folders, 0)
    states = fresh(s, seeds)
    if s.config.start.weights:
      states = earlier.from_weights(s.config, states)
    if s.config.start.run:
      run = earlier.named(s.config, 'start', s.workdir)
      states = [earlier.start_from(s.config, run, k, x) for k, x in zip(seeds, states)]
    states = [_settled(s, x) for x in states]
    return [Lane(k, f, x, variables(x), told)
            for k, f, x, told in zip(seeds, folders, states, s.teachers)]  # fmt: skip
  step, trees, meta = found
  _check_same_data(s, meta['notes'])
  s.clock['before'] = meta['seconds']
  s.notes.update(meta['notes'])
  _keep_metrics(folders, step // s.recipe.steps_per_epoch)
  log.info('Resumed at step %d (epoch %d).', step, step // s.recipe.steps_per_epoch + 1)
  return [
    Lane(k, f, t['state'], t['best'], told, m['best'], m['last'])
    for k, f, t, told, m in zip(seeds, folders, trees, s.teachers, meta['lanes'])
  ]


def _check_same_data(s: Session, notes: dict[str, Any]) -> None:
  """Makes sure that a checkpoint saw the training set that is here now."""
  then, now = notes.get('counts'), s.notes['counts']
  names = notes.get('classes', s.notes['classes'])
  if then is None or (then == now and names == s.notes['classes']):
    return
  raise UserError(
    f'The training set has changed since {s.workdir} was begun: {sum(then)} images of {len(then)} '
    f'classes then, {sum(now)} of {len(now)} now; bring the old one back, or start anew with '
    'another --workdir.'
  )


def _settled(s: Session, x: TrainState) -> TrainState:
  params, stats = devices.settle((x.params, x.batch_stats), s.recipe.where)
  return x._replace(params=params, batch_stats=stats)


def _keep_metrics(folders: Sequence[pathlib.Path], epochs: int) -> None:
  devices.first_alone(lambda: [files.keep_metrics(folder, epochs) for folder in folders])


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
  if jax.process_count() > 1:  # clocks differ, and saving is done together
    at_end = step % s.recipe.steps_per_epoch == 0 and c.every_s > 0
    return by_step or (at_end and devices.agreed(time.monotonic() - s.clock['saved'] >= c.every_s))
  return by_step or (c.every_s > 0 and time.monotonic() - s.clock['saved'] >= c.every_s)


def look(s: Session, lane: Lane) -> Look:
  """Returns how a signal may look at the network of a run between two epochs."""
  now = {'params': lane.state.params, 'batch_stats': lane.state.batch_stats}
  store = s.store._replace(teacher=lane.teacher)

  def probe(key, rng, classes, op, strengths):
    index = np.asarray(s.store.classes.start)[classes] + (
      rng.random(len(classes)) * np.asarray(s.store.classes.count)[classes]
    ).astype(np.int64)
    index = np.asarray(s.store.classes.order)[index]
    pixels = None
    if s.reader:
      pixels = functools.partial(
        feed.at_once, s.reader, s.cut, s.recipe.views['natural'].random, s.recipe.where,
        int(rng.integers(2**62)),
      )  # fmt: skip
    return s.probe(key, index, op, strengths, now, store, pixels)

  images = s.reader or s.store.images
  return Look(lambda observe, acc: s.fold(observe, acc, now, images, s.store.labels), probe)


def test_arguments(s: Session, now: PyTree) -> tuple[Any, ...]:
  """Returns what `test_fold` takes for the counts of the test set."""
  empty = metrics.init_counts(s.recipe.num_classes, s.config.eval.ece_bins)
  return metrics.count_outputs, empty, now, *s.test


def test_counts(s: Session, now: PyTree) -> metrics.Counts:
  """Evaluates on the test set; the counts stay on the device."""
  return s.test_fold(*test_arguments(s, now))


# names that pytest takes for tests
test_counts.__test__ = test_arguments.__test__ = False  # type: ignore[attr-defined]
