"""The one train loop: epochs of compiled steps, evaluation, checkpoints, resume."""

from __future__ import annotations

import collections
import functools
import logging
import pathlib
import time
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from fass_jax import report
from fass_jax import workdir as files
from fass_jax.session import (
  Progress,
  Session,
  begin,
  check_finite,
  due,
  epoch_record,
  fold_over,
  last_look,
  open_session,
  save,
  summarise,
  test_metrics,
  variables,
)
from fass_jax.state import TrainState
from fass_jax.step import active_views, compile_step, init_tally, site

log = logging.getLogger('fass_jax')


class Stopped(Exception):
  """A run that was asked to stop and has saved; the text says how to go on."""


def coin_tosses(s: Session, epoch: int) -> dict[str, np.ndarray]:
  """Tosses an epoch's coins on the host: they choose a program, so the device cannot.

  Returns:
    By stream with a coin, bool `[steps_per_epoch]`, a function of (seed, epoch, stream).
  """
  return {
    name: np.random.default_rng((s.config.seed, epoch, zlib.crc32(name.encode()))).random(
      s.recipe.steps_per_epoch
    )
    < stream.coin
    for name, stream in s.recipe.streams.items()
    if stream.coin < 1
  }


def train_epoch(
  s: Session, state: TrainState, progress: Progress, epoch: int, bar: tqdm
) -> TrainState:
  """Runs the steps of an epoch that are left; nothing is read back from the device.

  Raises:
    Stopped: after a signal; the run is saved.
  """
  plan = s.plan(state.key, state.step, s.store)
  coins = coin_tosses(s, epoch)
  # the host may run this many steps ahead: enough to keep a device busy, few enough to stop
  ahead: collections.deque = collections.deque()
  lag = 1 if jax.default_backend() == 'cpu' else 16
  total = s.recipe.steps_per_epoch
  for i in range(int(state.step) % total, total):
    on = active_views(s.recipe, epoch, {n: bool(c[i]) for n, c in coins.items()})
    if on not in s.programs:
      log.info('Compiling the step for the views %s.', ', '.join(on))
      s.programs[on] = compile_step(s.recipe, on, state, s.store, plan)
    state, done = s.programs[on](state, s.store, plan)
    ahead.append(done)
    if len(ahead) > lag:
      ahead.popleft().block_until_ready()
    bar.update(s.recipe.batch_size)
    last = i + 1 == total
    step = epoch * total + i + 1
    if s.stop() and not last:
      stop_here(s, state, progress)
    if not last and due(s, step):
      save(s, state, progress)
  return state


def stop_here(s: Session, state: TrainState, progress: Progress) -> None:
  """Saves and leaves the run."""
  save(s, state, progress)
  s.manager.wait_until_finished()
  raise Stopped(
    f'{s.stop()}: saved at step {int(state.step)} in {s.workdir}; the same command continues.'
  )


def end_epoch(
  s: Session, state: TrainState, progress: Progress, epoch: int, took: float
) -> tuple[TrainState, Progress, dict[str, Any]]:
  """Refreshes the signals, evaluates and writes the epoch's record, in this order."""
  check_finite(s, state)
  now = {'params': state.params, 'batch_stats': state.batch_stats}
  key = site(jax.random.fold_in(state.key, epoch), 'refresh')
  train_fold = functools.partial(fold_over, s, now, (s.store.images, s.store.labels))
  signals, described = {}, {}
  for name, signal in s.recipe.signals.items():
    old = jax.device_get(state.signals[name])
    signals[name] = signal.refresh(state.signals[name], train_fold, key, jnp.asarray(epoch))
    described[name] = signal.describe(old, jax.device_get(signals[name]))
  record = epoch_record(s, state, epoch, took) | {'signals': described}
  state = state._replace(signals=signals, tally=init_tally(s.recipe))
  e = s.config.eval
  if (epoch + 1) % e.every == 0 or epoch + 1 == s.recipe.epochs:
    record['test'] = test_metrics(s, now)[0]
  files.append_metrics(s.workdir, record)
  progress = progress._replace(last_record=record)
  best = progress.best_record
  if 'test' in record and (best is None or record['test']['top1'] > best['test']['top1']):
    progress = progress._replace(best=variables(state), best_record=record)
  return state, progress, record


def run(
  config: ConfigDict, workdir: str | pathlib.Path, stop: Callable[[], str] = lambda: ''
) -> dict[str, Any]:
  """Trains a run to its end, from wherever its work directory stands.

  Args:
    config: resolved config.
    workdir: holds everything the run writes; a run that is there is continued.
    stop: polled each step; a non-empty answer saves the run and leaves it.

  Returns:
    The summary that is also written to `summary.json`.

  Raises:
    UserError: for every mistake the user can mend.
    Stopped: when `stop` asked for it; the run is saved.
  """
  path = pathlib.Path(workdir).absolute()
  with files.explain_full_disk(path):
    return _run(open_session(config, path, stop))


def _run(s: Session) -> dict[str, Any]:
  r = s.recipe
  log.info(report.opening(s.config, s.data, s.workdir))
  with s.manager, report.Board(s.workdir) as board:
    state, progress = begin(s)
    first = int(state.step) // r.steps_per_epoch
    images = r.epochs * r.steps_per_epoch * r.batch_size
    done = int(state.step) * r.batch_size
    show = tqdm(total=images, initial=done, unit='img', disable=None, smoothing=0.1)
    # log lines go above the bar, not into it
    with show as bar, logging_redirect_tqdm([log]):
      for epoch in range(first, r.epochs):
        start = time.monotonic()
        state = train_epoch(s, state, progress, epoch, bar)
        state, progress, record = end_epoch(s, state, progress, epoch, time.monotonic() - start)
        board.add(record)
        report.show_epoch(bar, record, r.epochs)
        last = epoch + 1 == r.epochs
        if s.stop() and not last:
          stop_here(s, state, progress)
        if last or due(s, int(state.step)):
          save(s, state, progress)
    s.manager.wait_until_finished()
    return report.finish(s.config, s.data, s.workdir, summarise(s, progress), *last_look(s, state))
