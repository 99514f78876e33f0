"""The train loop of all methods: epochs of compiled steps, evaluation, checkpoints, resume."""

from __future__ import annotations

import collections
import contextlib
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from fass_jax.config import stages
from fass_jax.config.check import check
from fass_jax.data.load import load
from fass_jax.engine import compiler, devices, feed, programs
from fass_jax.engine.views import site
from fass_jax.recipe import words
from fass_jax.recipe.build import build
from fass_jax.recipe.tables import TABLES
from fass_jax.report import screen
from fass_jax.run.records import end_of, epoch_record, metrics_on_test_set
from fass_jax.run.resume import begin, check_finite, due, save
from fass_jax.run.seeds import Cohort, compile_ahead, form, split
from fass_jax.run.session import (
  SeedRun,
  Session,
  counts_on_test_set,
  inspector,
  open_session,
  variables,
)
from fass_jax.types import UserError
from fass_jax.workdir import files

log = logging.getLogger('fass_jax')


class Stopped(Exception):
  """A signal has stopped the run after a checkpoint; the text says how to continue."""

  def __init__(self, text: str, name: str):
    super().__init__(text)
    self.name = name  # name of the signal


def train_epoch(
  s: Session, seed_runs: list[SeedRun], epoch: int, first: int, bar: tqdm
) -> list[SeedRun]:
  """Performs the steps of an epoch from `first` on, without reading results from the device.

  Raises:
    Stopped: after a signal; a checkpoint of all seeds is saved.
  """
  patterns, total = programs.patterns_of(s.recipe, epoch), s.recipe.steps_per_epoch
  cohorts, where = form(s, seed_runs, epoch), s.recipe.where
  s.clock['starved'] = 0.0
  feeds = [
    feed_of(s, seed_run, cohort, epoch, first) for seed_run, cohort in zip(seed_runs, cohorts)
  ]
  # number of calls that the host may be ahead: enough to keep a device busy, few for a quick stop
  ahead: collections.deque = collections.deque()
  lag = 1 if jax.default_backend() == 'cpu' else 2 if s.chunk > 1 or s.reader else 16
  for start, length in programs.chunks(first, total, s.chunk):
    for i, cohort in enumerate(cohorts):
      chosen = patterns if s.chunk > 1 else (patterns[cohort.pattern_of_step[start]],)
      key = programs.Key(chosen, length, s.notes['together'] == 'batched')
      store = cohort.store
      if s.reader:
        loads = next(feeds[i])
        s.clock['starved'] += feed.wait(loads, lambda: all(x.is_ready() for x in ahead))
        store = store._replace(pixels=feed.on_devices(loads, where))
      state, done = s.programs[key](cohort.state, store, cohort.plan, cohort.which)
      cohorts[i] = cohort._replace(state=state)
      ahead.append(done)
      if len(ahead) > lag:
        ahead.popleft().block_until_ready()
    bar.update(len(seed_runs) * length * s.recipe.batch_size)
    end, before = start + length, epoch * total + start
    stop, save_now = s.stop(before + length), due(s, before, before + length)
    if end < total and stop:
      stop_here(s, split(s, seed_runs, cohorts), stop)
    if end < total and save_now:
      save(s, split(s, seed_runs, cohorts))
  jax.block_until_ready(list(ahead))  # so that the measured time includes all steps
  return split(s, seed_runs, cohorts)


def feed_of(s: Session, seed_run: SeedRun, cohort: Cohort, epoch: int, first: int) -> Iterator[Any]:
  """Returns the pixels per step of a seed's epoch; empty if the images are on the device."""
  if s.reader is None:
    return iter(())
  patterns = programs.patterns_of(s.recipe, epoch)
  return feed.of_epoch(
    s.recipe,
    s.reader,
    s.cut,
    seed_run.seed,
    cohort.plan,
    epoch,
    first,
    lambda row: patterns[cohort.pattern_of_step[row]],
  )


def stop_here(s: Session, seed_runs: Sequence[SeedRun], stop: str) -> None:
  """Saves a checkpoint and raises Stopped."""
  save(s, seed_runs)
  s.manager.wait_until_finished()
  raise Stopped(
    f'{stop}: saved at step {int(seed_runs[0].state.step)} in {s.workdir}; start the same command '
    'again to continue.',
    stop,
  )


def end_epoch(s: Session, seed_runs: list[SeedRun], epoch: int, took: float) -> list[SeedRun]:
  """Refreshes the signals, evaluates, and writes the records of the epoch, in this order."""
  check_finite(s, seed_runs)
  e = s.config.eval
  tested = (epoch + 1) % e.every == 0 or epoch + 1 == s.recipe.epochs
  pending, states = [], []
  # submit the work of all seeds before waiting for the first result
  for seed_run in seed_runs:
    state = seed_run.state
    now = {'params': state.params, 'batch_stats': state.batch_stats}
    key = site(jax.random.fold_in(state.key, epoch), 'refresh')
    signals = {
      n: signal.refresh(state.signals[n], inspector(s, seed_run), key, np.int32(epoch))
      for n, signal in s.recipe.signals.items()
    }
    signals = devices.replicate(signals, s.recipe.where)
    counts = counts_on_test_set(s, now) if tested else None
    pending.append((state.tally, state.signals, signals, counts))
    states.append(state._replace(signals=signals, tally=s.tally()))
  ended = []
  for seed_run, state, (tally, old, new, counts) in zip(seed_runs, states, jax.device_get(pending)):
    record = epoch_record(s, tally, epoch, took)
    record['signals'] = {n: x.describe(old[n], new[n]) for n, x in s.recipe.signals.items()}
    seed_run = seed_run._replace(state=state, last_record=record)
    if counts is not None:
      record['test'] = metrics_on_test_set(s, counts)
      best = seed_run.best_record
      if best is None or s.report.better(record['test'], best['test']):
        seed_run = seed_run._replace(best=variables(state), best_record=record)
    if devices.first():
      files.append_metrics(seed_run.folder, record)
    ended.append(seed_run)
  return ended


def run(
  config: ConfigDict, workdir: str | pathlib.Path, stop: Callable[[], str] = lambda: ''
) -> dict[str, Any]:
  """Trains a run to its end, from the newest checkpoint in its work directory if there is one.

  Args:
    config: resolved config.
    workdir: folder for all files of the run; an existing run is continued.
    stop: called per step; a non-empty result saves a checkpoint and stops the run.

  Returns:
    The summary, which is also written to `summary.json`.

  Raises:
    UserError: for any error that the user can fix.
    Stopped: after `stop` returned a signal; a checkpoint is saved.
  """
  path = pathlib.Path(workdir).absolute()
  compiler.use_cache(config.engine.cache)
  parts, before = stages.split(config, path), 0.0
  for part in parts:
    check(part.config, TABLES)
  with files.explain_full_disk(path):
    if len(parts) > 1:  # check all stages before the first one trains
      data = devices.first_before_others(lambda: load(config))
      for part in parts:
        files.check_same(part.folder, part.config)
        try:
          build(part.config, data)
        except UserError as error:  # the message needs the stage, whose keys begin with stages.NAME
          raise UserError(f'Stage {part.name}: {error}') from error
    summary: dict[str, Any] = {}
    for part in parts:
      if part.name:
        log.info('Stage %s.', part.name)
      done = None if part is parts[-1] else files.finished(part.folder, part.config)
      summary = done or _run(open_session(part.config, part.folder, stop), before)
      before = summary.get('wall_s', 0.0)
    return summary


def _run(s: Session, before: float = 0.0) -> dict[str, Any]:
  """Trains one stage; `before` is the wall time of the previous stages in seconds."""
  r = s.recipe
  s.clock['before'] = before
  if devices.first():
    screen.open_run(s.config, s.data, s.workdir)
  log.info(words.describe(s.recipe, s.data))
  with s.manager, contextlib.ExitStack() as event_logs:
    seed_runs = begin(s)
    done = int(seed_runs[0].state.step)
    compile_ahead(s, seed_runs, done)
    writers = seed_runs if devices.first() else []
    shown = [event_logs.enter_context(screen.EventLog(x.folder)) for x in writers]
    size = r.batch_size * len(seed_runs)
    show = tqdm(
      total=r.epochs * r.steps_per_epoch * size,
      initial=done * size,
      unit='row' if s.data.is_rows else 'img',
      disable=None,
      smoothing=0.1,
    )
    # print log lines above the progress bar
    with show as bar, logging_redirect_tqdm([log]):
      for epoch in range(done // r.steps_per_epoch, r.epochs):
        start = time.monotonic()
        first = max(0, done - epoch * r.steps_per_epoch)
        seed_runs = train_epoch(s, seed_runs, epoch, first, bar)
        seed_runs = end_epoch(s, seed_runs, epoch, time.monotonic() - start)
        for event_log, seed_run in zip(shown, seed_runs):
          event_log.add(seed_run.last_record)
        records = [x.last_record for x in seed_runs]
        screen.show_epoch(bar, s.report, records, r.epochs, s.data.noun)
        last, end = epoch + 1 == r.epochs, (epoch + 1) * r.steps_per_epoch
        stop = s.stop(end)
        if stop and not last:
          stop_here(s, seed_runs, stop)
        if last or due(s, end - 1 - (r.steps_per_epoch - 1) % s.chunk, end):
          save(s, seed_runs)
    s.manager.wait_until_finished()
    ends = [(x.folder, *end_of(s, x)) for x in seed_runs]
    return screen.finish(s.report, s.workdir, ends) if devices.first() else {}
