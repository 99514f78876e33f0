"""Several seeds in one process: with alternating steps, or in one batched program."""

from __future__ import annotations

import functools
import logging
import time
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.engine import devices, feed, programs
from fass_jax.engine.step import active_views
from fass_jax.engine.views import Plan, Store
from fass_jax.run.session import SeedRun, Session, arguments_for_test_set, store_of, variables
from fass_jax.types import TrainState, UserError

log = logging.getLogger('fass_jax')


def coin_tosses(s: Session, seed: int, epoch: int) -> dict[str, np.ndarray]:
  """Draws the coins of an epoch on the host, because they select the program of each step.

  Returns:
    `{stream: bool [steps_per_epoch]}` for the streams with a coin; a function of (seed, epoch,
    stream).
  """
  return {
    name: np.random.default_rng((seed, epoch, zlib.crc32(name.encode()))).random(
      s.recipe.steps_per_epoch
    )
    < stream.on_share
    for name, stream in s.recipe.streams.items()
    if stream.on_share < 1
  }


class Cohort(NamedTuple):
  """The inputs of a program call: those of one seed, or those of all seeds stacked."""

  state: TrainState
  store: Store  # the shared training set and the teacher of the seed
  plan: Plan
  pattern_of_step: np.ndarray  # int [steps_per_epoch], the pattern of each step
  which: jax.Array | None  # the same on the device, if the program selects the pattern


def plan_arguments(s: Session, seed_run: SeedRun) -> tuple[Any, ...]:
  """Returns the arguments of `s.plan`; with a reader, the plan must have all image positions."""
  state, store = seed_run.state, s.store if seed_run.examples is None else seed_run.examples
  return state.key, state.step, store, *([state.signals] if s.reader else [])


def read_by(s: Session, seed_runs: Sequence[SeedRun]) -> Store:
  """Returns the store of a seed; of several, with what each has of its own stacked."""
  stores = [store_of(s, seed_run) for seed_run in seed_runs]
  if len(stores) == 1:
    return stores[0]
  if s.recipe.training.is_own:
    return programs.stack(stores)
  return s.store._replace(teacher=programs.stack([store.teacher for store in stores]))


def form(s: Session, seed_runs: Sequence[SeedRun], epoch: int) -> list[Cohort]:
  """Plans an epoch of each seed, and stacks the seeds if they share one program."""
  patterns = programs.patterns_of(s.recipe, epoch)
  cohorts = []
  for seed_run in seed_runs:
    coins = coin_tosses(s, seed_run.seed, epoch)
    pattern_of_step = np.zeros((s.recipe.steps_per_epoch,), np.int32)
    for i in range(len(pattern_of_step) if coins else 0):
      on = active_views(s.recipe, epoch, {n: bool(c[i]) for n, c in coins.items()})
      pattern_of_step[i] = patterns.index(on)
    choose_on_device = len(patterns) > 1 and s.chunk > 1
    which = devices.copy(pattern_of_step, s.recipe.where) if choose_on_device else None
    plan = s.plan(*plan_arguments(s, seed_run))
    cohorts.append(Cohort(seed_run.state, read_by(s, [seed_run]), plan, pattern_of_step, which))
  if s.notes['together'] == 'batched':
    state, plan = (
      programs.stack([r.state for r in cohorts]),
      programs.stack([r.plan for r in cohorts]),
    )
    cohorts = [Cohort(state, read_by(s, seed_runs), plan, cohorts[0].pattern_of_step, None)]
  return cohorts


def split(s: Session, seed_runs: Sequence[SeedRun], cohorts: Sequence[Cohort]) -> list[SeedRun]:
  """Returns the seeds with their new states from the cohorts."""
  states = [r.state for r in cohorts]
  if s.notes['together'] == 'batched':
    states = programs.unstack(states[0], len(seed_runs))
  return [seed_run._replace(state=x) for seed_run, x in zip(seed_runs, states)]


def compile_ahead(s: Session, seed_runs: Sequence[SeedRun], done: int) -> None:
  """Selects how several seeds run, and compiles all programs for the rest of the run."""
  epoch, first = divmod(done, s.recipe.steps_per_epoch)
  if epoch >= s.recipe.epochs:
    return
  if 'together' not in s.notes:
    s.notes['together'] = choose(s, seed_runs)
  batched = s.notes['together'] == 'batched'
  keys = programs.needed(s.recipe, s.chunk, epoch, first, batched)
  state, plan = seed_runs[0].state, s.plan(*plan_arguments(s, seed_runs[0]))
  if batched:
    state, plan = (programs.stack([x] * len(seed_runs)) for x in (state, plan))
    programs.unstack(state, len(seed_runs))  # compiles `unstack`
  missing = [k for k in keys if k not in s.programs]
  log.info('Compiling %d program%s.', len(missing), '' if len(missing) == 1 else 's')
  readers = read_by(s, seed_runs if batched else seed_runs[:1])
  store_of = functools.partial(example_store, s, readers)
  unroll = s.config.engine.unroll
  s.programs.update(programs.compile_all(s.recipe, missing, unroll, state, store_of, plan))
  s.test_fold.prepare(*arguments_for_test_set(s, variables(seed_runs[0].state)))


def example_store(s: Session, store: Store, key: programs.Key) -> Store:
  """Returns the store for compiling a program, with the shapes of its views' pixels."""
  if s.reader is None:
    return store
  shapes: dict[str, Any] = {}
  where = s.recipe.where
  for site, (stream, _) in feed.sites(s.recipe, key.patterns[0]).items():
    n = devices.padded(s.recipe.streams[stream.split('/')[0]].size, where)
    shape = (n, s.reader.side, s.reader.side, 3)
    shapes[site] = jax.ShapeDtypeStruct(shape, np.uint8, sharding=where.rows)
  return store._replace(pixels=shapes)


def choose(s: Session, seed_runs: Sequence[SeedRun]) -> str:
  """Returns 'batched' or 'interleaved': the config's choice, or the faster one for 'auto'.

  Raises:
    UserError: if 'batched' is requested and a stream has a coin, or images are decoded on demand.
  """
  asked = s.config.engine.together
  coins = [n for n, stream in s.recipe.streams.items() if stream.on_share < 1]
  if asked == 'batched' and coins:
    raise UserError(
      f'--config.engine.together=batched cannot be combined with --config.streams.{coins[0]}.gate='
      'coin: each seed has its own coin, but a batched program has the same views for all seeds; '
      'use --config.engine.together=interleaved.'
    )
  if asked == 'batched' and s.reader:
    raise UserError(
      '--config.engine.together=batched needs the images on the device; use '
      '--config.data.store=resident or --config.engine.together=interleaved.'
    )
  if asked != 'auto':
    return asked
  # on a CPU the convolutions of a batched program are much slower, see docs/performance.md;
  # several processes could measure different times and choose differently
  single = len(seed_runs) == 1 or jax.process_count() > 1 or s.reader is not None
  if single or coins or jax.default_backend() == 'cpu':
    return 'interleaved'
  seconds = race(s, seed_runs)
  log.info(
    'Seconds per call for all seeds: %s.', ', '.join(f'{k} {v:.3f}' for k, v in seconds.items())
  )
  return min(seconds, key=lambda k: seconds[k])


def race(s: Session, seed_runs: Sequence[SeedRun]) -> dict[str, float]:
  """Returns the seconds per call for all seeds, batched and interleaved, on copies of states."""
  last = s.recipe.epochs - 1
  found = {}
  for way in ('interleaved', 'batched'):
    key = programs.needed(s.recipe, s.chunk, last, 0, way == 'batched')[0]
    cohorts = form(s._replace(notes={'together': way}), seed_runs, last)
    program = s.programs.setdefault(
      key,
      programs.compile_all(
        s.recipe,
        [key],
        s.config.engine.unroll,
        cohorts[0].state,
        {key: cohorts[0].store}.__getitem__,
        cohorts[0].plan,
      )[key],
    )
    for _ in range(2):  # the first is a warm-up, the second is measured
      copies = [jax.block_until_ready(jax.tree.map(jnp.copy, r.state)) for r in cohorts]
      begin = time.perf_counter()
      for cohort, state in zip(cohorts, copies):
        done = program(state, cohort.store, cohort.plan, cohort.which)[1]
      done.block_until_ready()
      found[way] = time.perf_counter() - begin
  return found
