"""The session of a run: config, data, programs, checkpoints. The train loop is in `loop`."""

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

from fass_jax.data.images.streaming import Reader
from fass_jax.data.load import load
from fass_jax.data.numbers import scale_of
from fass_jax.data.store import place
from fass_jax.engine import devices, feed, passes
from fass_jax.engine.programs import Key, Program, chunk_length
from fass_jax.engine.step import init_tally, plan_epoch
from fass_jax.engine.views import Plan, Store
from fass_jax.recipe import images as shown
from fass_jax.recipe.build import Recipe, build
from fass_jax.recipe.prior import implied
from fass_jax.report import judge as classify
from fass_jax.report.tasks import Report, report_of
from fass_jax.run import start
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Classes, Dataset, Inspector, Placement, PyTree, TrainState
from fass_jax.workdir import checkpoint, files
from fass_jax.workdir.open import note_of

log = logging.getLogger('fass_jax')


class SeedRun(NamedTuple):
  """One seed of a run: its folder, state and results."""

  seed: int
  folder: pathlib.Path
  state: TrainState
  best: PyTree  # params and batch_stats of the best epoch
  teacher: PyTree = None  # params and batch_stats of this seed's teacher
  examples: Store | None = None  # this seed's own training examples; None: those of the session
  best_record: dict[str, Any] | None = None
  last_record: dict[str, Any] = {}


class Session(NamedTuple):
  """Everything that the seeds of a run share, i.e. all but their states."""

  config: ConfigDict
  workdir: pathlib.Path
  data: Dataset
  recipe: Recipe
  store: Store  # without a teacher, because each seed may have its own
  teachers: list[PyTree]  # one per seed
  train: tuple[jax.Array | Reader | Any, jax.Array]  # training images or rows, labels
  reader: Reader | None  # the training images, if the steps decode them on demand
  cut: feed.Cut  # parameters of the crops for `reader`
  test: tuple[jax.Array | Reader, jax.Array]  # images, labels
  fold: passes.Fold
  test_fold: passes.Fold
  held: tuple[Any, jax.Array] | None  # held-out images, labels; None: no signal asks for them
  probe: Callable[..., np.ndarray]
  plan: Callable[..., Plan]
  tally: Callable[[], PyTree]  # returns the sums at the start of an epoch
  manager: ocp.CheckpointManager
  chunk: int  # steps per program call
  programs: dict[Key, Program]
  stop: Callable[[int], str]  # (next step) -> '' or the name of the signal that stops the run
  clock: dict[str, float]  # seconds: 'begin', 'before' (before a resume), 'saved', 'starved'
  notes: dict[str, Any]  # facts about the run that are saved with its checkpoints
  report: Report  # what the task makes of the test set
  judge: classify.Judge | None  # the test-time classifier; None: the network's own


def open_session(config: ConfigDict, workdir: pathlib.Path, stop: Callable[[], str]) -> Session:
  """Opens the work directory, loads the data and builds the recipe and its functions."""
  devices.first_alone(lambda: files.prepare(workdir, config))
  loaded = devices.first_before_others(lambda: load(config))
  kept = place(config, loaded)
  data, train = kept.data, kept.train
  recipe, teachers = _taught(config, data, workdir)
  where, engine, d = recipe.where, config.engine, config.data
  scale = scale_of(data)
  classes = index_classes(data.train_labels, recipe.num_classes, data.neighbours, scale=scale)
  images = None if train else data.train_images
  kept_there = _store(data, images, classes, where)
  test = (
    kept.test or devices.copy(data.test_images, where),
    devices.copy(np.int32(data.test_labels), where),
  )
  tested, size = data.num_tested, config.eval.batch_size
  test_fold = passes.make_fold(recipe, size, lambda outs: outs, d.centre, tested)
  report = report_of(config, data, recipe.task)
  # built now, so that errors in its config are reported before training
  whole = train or kept_there.images, kept_there.labels
  judge = classify.of_run(config, kept, recipe, test_fold, whole, test)
  reader = None if recipe.training.is_own else train
  chunk = chunk_length(engine.chunk, recipe.steps_per_epoch)
  return Session(
    config=config,
    workdir=workdir,
    data=data,
    recipe=recipe,
    store=kept_there,
    teachers=teachers,
    train=whole,
    reader=reader,
    cut=feed.Cut(tuple(d.crop_area), d.centre),
    test=test,
    fold=passes.make_fold(recipe, size, share=d.centre),
    test_fold=test_fold,
    held=classify.held_of(kept, where) if any(x.held for x in recipe.signals.values()) else None,
    probe=passes.make_probe(recipe, size),
    plan=jax.jit(functools.partial(plan_epoch, recipe), out_shardings=where.whole),
    tally=jax.jit(functools.partial(init_tally, recipe), out_shardings=where.whole),
    manager=checkpoint.open_manager(workdir / 'checkpoints', config.checkpoint.keep),
    chunk=1 if reader else chunk,  # with a reader, each call has the pixels of one step
    programs={},
    stop=devices.agreed_stop(stop),
    clock={'begin': time.monotonic(), 'before': 0.0, 'saved': time.monotonic(), 'starved': 0.0},
    notes={
      'classes': list(data.class_names),
      'counts': data.counts.tolist(),
      'examples': recipe.training.size,
      'auxiliary': data.auxiliary,
      'outputs': data.outputs,
      'scale': scale,
      'neighbours': None if data.neighbours is None else np.argwhere(data.neighbours).tolist(),
      'prior': note_of(implied(config, data.counts, tested)),
      **shown.preparation(config, loaded, recipe.normalise),
    },
    report=report,
    judge=judge,
  )


def _store(data: Dataset, images: Any, classes: Classes, where: Placement) -> Store:
  """Copies the training set to the devices."""
  own: Any = images, np.int32(data.train_labels), classes, data.train_values
  pixels, labels, index, values = devices.copy(own, where)
  return Store(pixels, labels, index, values=values)


def _taught(
  config: ConfigDict, data: Dataset, workdir: pathlib.Path
) -> tuple[Recipe, list[PyTree]]:
  """Returns the recipe, and the variables of the teacher per seed (None without a teacher)."""
  where = devices.place(config.engine.devices)
  if not config.teacher.run:
    return build(config, data)._replace(where=where), [None] * config.seeds
  run = start.named(config, 'teacher', workdir)
  recipe = build(config, data, start.teacher_net(run))
  start.check_teacher(recipe, run, run.variables[0], data.image_shape)
  return recipe._replace(where=where), start.of_seeds(run, config.seed, config.seeds, where)


def variables(state: TrainState) -> PyTree:
  """Returns a copy of the network's variables, because the state is donated to the next step."""
  return jax.tree.map(jnp.copy, {'params': state.params, 'batch_stats': state.batch_stats})


def inspector(s: Session, seed_run: SeedRun) -> Inspector:
  """Returns a seed's inspector, for its signals at the end of an epoch."""
  now = {'params': seed_run.state.params, 'batch_stats': seed_run.state.batch_stats}
  store = s.store._replace(teacher=seed_run.teacher)

  def probe(key, rng, classes, op, strengths):
    index = np.asarray(s.store.classes.start)[classes] + (
      rng.random(len(classes)) * np.asarray(s.store.classes.count)[classes]
    ).astype(np.int64)
    index = np.asarray(s.store.classes.order)[index]
    pixels = None
    if s.reader:
      pixels = functools.partial(
        feed.at_once,
        s.reader,
        s.cut,
        s.recipe.views['natural'].random,
        s.recipe.where,
        int(rng.integers(2**62)),
      )
    return s.probe(key, index, op, strengths, now, store, pixels)

  def over(fold: passes.Fold, images: Any) -> Callable[..., PyTree]:
    return lambda observe, acc: fold(observe, acc, now, *images)

  held = None if s.held is None else over(s.fold, s.held)
  return Inspector(over(s.fold, s.train), probe, held, over(s.test_fold, s.train))


def store_of(s: Session, seed_run: SeedRun) -> Store:
  """Returns the training examples and the teacher of a seed."""
  examples = s.store if seed_run.examples is None else seed_run.examples
  return examples._replace(teacher=seed_run.teacher)


def arguments_for_test_set(s: Session, now: PyTree) -> tuple[Any, ...]:
  """Returns the arguments of `test_fold` for the counts of the test set."""
  return s.report.count, s.report.init(), now, *s.test


def counts_on_test_set(s: Session, now: PyTree) -> PyTree:
  """Evaluates on the test set and returns the sums of the task's report, on the device."""
  return s.test_fold(*arguments_for_test_set(s, now))
