"""Initial states, resume from the newest checkpoint, and saving of checkpoints."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax

from fass_jax.engine import devices
from fass_jax.engine.compiler import quick_options
from fass_jax.engine.step import draw_variables, init_state
from fass_jax.run import start
from fass_jax.run.examples import with_examples
from fass_jax.run.session import SeedRun, Session, log, variables
from fass_jax.types import Diverged, PyTree, TrainState, UserError
from fass_jax.workdir import checkpoint, files


def fresh(s: Session, seeds: Sequence[int]) -> list[TrainState]:
  """Returns the initial states, one per seed."""
  shape = s.data.image_shape
  where = s.recipe.where
  # a separate program, because all methods with the same network share it in the cache
  draw = jax.jit(
    lambda key: draw_variables(s.recipe, key, shape),
    out_shardings=where.whole,
    compiler_options=quick_options(),
  )
  fill = jax.jit(
    lambda key, drawn: init_state(s.recipe, key, shape, drawn), out_shardings=where.whole
  )
  keys = [devices.key(k, where) for k in seeds]
  return [fill(key, draw(key)) for key in keys]


def begin(s: Session) -> list[SeedRun]:
  """Returns the seeds of the run, from the newest checkpoint or with initial states.

  The sources are, by priority: the run's own checkpoint, --config.start.run or
  --config.start.weights, random initial values.

  Raises:
    UserError: if no checkpoint can be read, or the start run or weights do not fit.
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
    _cut_metrics(folders, 0)
    states = fresh(s, seeds)
    if s.config.start.weights:
      states = start.from_weights(s.config, states)
    if s.config.start.run:
      run = start.named(s.config, 'start', s.workdir)
      states = [start.start_from(s.config, run, k, x) for k, x in zip(seeds, states)]
    states = [_replicated(s, x) for x in states]
    return [
      with_examples(s, SeedRun(k, f, x, variables(x), teacher))
      for k, f, x, teacher in zip(seeds, folders, states, s.teachers)
    ]
  step, trees, meta = found
  _check_same_data(s, meta['notes'])
  s.clock['before'] = meta['seconds']
  s.notes.update(meta['notes'])
  _cut_metrics(folders, step // s.recipe.steps_per_epoch)
  log.info('Resumed at step %d (epoch %d).', step, step // s.recipe.steps_per_epoch + 1)
  return [
    with_examples(
      s,
      SeedRun(k, f, t['state'], t['best'], teacher, best_record=m['best'], last_record=m['last']),
    )
    for k, f, t, teacher, m in zip(seeds, folders, trees, s.teachers, meta['lanes'])
  ]


def _check_same_data(s: Session, notes: dict[str, Any]) -> None:
  """Checks that the training set is the same as when the checkpoint was saved."""
  then, now = notes.get('counts'), s.notes['counts']
  names = notes.get('classes', s.notes['classes'])
  if then == now and notes.get('neighbours') != s.notes['neighbours']:
    raise UserError(
      f'The neighbours have changed since the run in {s.workdir} was started; restore the old '
      f'{s.config.data.neighbours}, or start a new run with another --workdir.'
    )
  columns = notes.get('columns', s.notes['columns']) == s.notes['columns']
  if then is None or (then == now and names == s.notes['classes'] and columns):
    return
  raise UserError(
    f'The training set has changed since the run in {s.workdir} was started: {sum(then)} '
    f'{s.data.noun} of {len(then)} classes then, {sum(now)} of {len(now)} now'
    f'{"" if columns else " with other columns or words"}; restore the old training set, or start '
    'a new run with another --workdir.'
  )


def _replicated(s: Session, x: TrainState) -> TrainState:
  params, stats = devices.replicate((x.params, x.batch_stats), s.recipe.where)
  return x._replace(params=params, batch_stats=stats)


def _cut_metrics(folders: Sequence[pathlib.Path], epochs: int) -> None:
  devices.first_alone(lambda: [files.cut_metrics(folder, epochs) for folder in folders])


def seconds(s: Session) -> float:
  """Returns the wall time of the run in seconds, including the time before a resume."""
  return s.clock['before'] + time.monotonic() - s.clock['begin']


def check_finite(s: Session, seed_runs: Sequence[SeedRun]) -> None:
  """Stops a run if a loss or gradient is NaN or infinite.

  Raises:
    Diverged: with the step, the likely cause and the last good checkpoint.
  """
  for bad, seed_run in zip(
    jax.device_get([x.state.tally['bad_step'] for x in seed_runs]), seed_runs
  ):
    if bad < 0:
      continue
    latest = s.manager.latest_step()
    whose = f', seed {seed_run.seed}' if len(seed_runs) > 1 else ''
    kept = 'there is no checkpoint yet' if latest is None else f'checkpoint {latest} is kept'
    raise Diverged(
      f'The loss or its gradient was NaN or infinite at step {bad} (epoch '
      f'{bad // s.recipe.steps_per_epoch + 1}{whose}), most likely because the learning '
      f'rate is too high (--config.optim.lr={s.config.optim.lr}); lower it and start with a new '
      f'--workdir ({kept}).'
    )


def save(s: Session, seed_runs: Sequence[SeedRun]) -> None:
  """Saves a checkpoint of all seeds, after checking that their losses are finite."""
  check_finite(s, seed_runs)
  meta = {
    'seconds': seconds(s),
    'notes': s.notes,
    'lanes': [{'best': x.best_record, 'last': x.last_record} for x in seed_runs],
  }
  trees = [{'state': x.state, 'best': x.best} for x in seed_runs]
  checkpoint.save(s.manager, int(seed_runs[0].state.step), trees, files.jsonable(meta))
  s.clock['saved'] = time.monotonic()


def due(s: Session, before: int, step: int) -> bool:
  """Returns True if a checkpoint is due, by the steps from `before` to `step` or by the time."""
  c = s.config.checkpoint
  by_step = c.every_steps > 0 and step // c.every_steps > before // c.every_steps
  if jax.process_count() > 1:  # clocks differ between processes, but all must save together
    at_end = step % s.recipe.steps_per_epoch == 0 and c.every_s > 0
    return by_step or (at_end and devices.agreed(time.monotonic() - s.clock['saved'] >= c.every_s))
  return by_step or (c.every_s > 0 and time.monotonic() - s.clock['saved'] >= c.every_s)
