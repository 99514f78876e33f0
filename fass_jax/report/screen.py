"""Output of a run in progress: lines on the terminal and TensorBoard events."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from fass_jax.data.numbers import nouns_of
from fass_jax.report.metrics import edges_of, groups_of
from fass_jax.report.tables import group_summary, log
from fass_jax.report.tasks import Report
from fass_jax.types import Dataset
from fass_jax.workdir import files


def opening(config: ConfigDict, data: Dataset, workdir: pathlib.Path) -> str:
  """Returns the first lines of a run's log."""
  counts = data.counts[: data.num_tested]
  groups, (noun, several) = groups_of(config.eval, counts), nouns_of(data)
  sizes = ', '.join(f'{int(m.sum())} {name}' for name, m in groups.items()) + f'-shot {several}'
  many, few = edges_of(config.eval, counts)
  if (many, few) != (config.eval.many, config.eval.few):
    sizes += f', many above {many} {data.noun}, few below {few}'
  held = '' if data.held_labels is None else f', {len(data.held_labels)} held out'
  extra = len(data.train_labels) - counts.sum()
  beside = f', {extra} of {data.auxiliary} auxiliary classes' * (data.auxiliary > 0)
  last = config.seed + config.seeds - 1
  seeds = f'seed {config.seed}' if config.seeds == 1 else f'seeds {config.seed} to {last}'
  return (
    f'{config.name}, method {config.method}, {seeds}: {counts.sum()} training '
    f'{data.noun} ({counts.max()} to {counts.min()} per {noun}; {sizes}){beside}, '
    f'{len(data.test_labels)} test {data.noun}{held}.\nWork directory: {workdir}'
  )


def open_run(config: ConfigDict, data: Dataset, workdir: pathlib.Path) -> None:
  """Logs the first lines of a run, and plots the class counts of a set of image files."""
  log.info(opening(config, data, workdir))
  if not data.side:
    return
  from fass_jax.report import pictures  # late: matplotlib takes a second to import

  counts = data.counts[: data.num_tested]
  pictures.draw_counts(workdir, counts, groups_of(config.eval, counts))


def show_epoch(
  bar: tqdm,
  report: Report,
  records: Sequence[dict[str, Any]],
  epochs: int,
  noun: str = 'images',
) -> None:
  """Shows an epoch on the progress bar, or in the log ten times per run without a terminal."""
  record = records[0]
  epoch = record['epoch']

  def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))

  train, test = report.brief(records)
  bar.set_postfix_str(f'epoch {epoch}/{epochs} {test}', refresh=False)
  if bar.disable and (epoch * 10) // epochs != ((epoch - 1) * 10) // epochs:
    log.info(
      'epoch %d/%d: loss %.3f, train %s, %s, %.0f %s/s',
      epoch,
      epochs,
      mean(r['loss'] for r in records),
      train,
      test,
      record['images_per_s'],
      noun,
    )


class EventLog:
  """Writes TensorBoard events in addition to metrics.jsonl, if tensorboardX is installed."""

  def __init__(self, workdir: pathlib.Path):
    self.events: Any = None
    # hide PyTorch: tensorboardX would import it, which takes two seconds and is not needed
    hidden = 'torch' not in sys.modules
    if hidden:
      sys.modules['torch'] = None  # type: ignore[assignment]
    try:
      # not SummaryWriter: on a full disk its thread would fail silently instead of the run
      from tensorboardX.event_file_writer import EventsWriter
    except ImportError:
      return
    finally:
      if hidden:
        del sys.modules['torch']
    folder = workdir / 'tensorboard'
    folder.mkdir(exist_ok=True)
    self.events = EventsWriter(str(folder / 'events'))

  def add(self, record: dict[str, Any]) -> None:
    """Writes the numbers of an epoch; nested names are joined by '/'."""
    if self.events is None:
      return
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    def walk(prefix: str, value: Any) -> None:
      if isinstance(value, dict):
        for key, inner in value.items():
          walk(f'{prefix}/{key}' if prefix else key, inner)
      elif isinstance(value, int | float) and np.isfinite(value):
        now = {'wall_time': time.time(), 'step': record['epoch']}
        self.events.write_event(Event(summary=scalar(prefix, value), **now))

    walk('', record)
    self.events.flush()

  def __enter__(self) -> EventLog:
    return self

  def __exit__(self, *error: Any) -> None:
    if self.events is not None:
      self.events.close()


def draw(folder: pathlib.Path, report: Report, *figures: Any) -> None:
  """Plots a finished run in its folder, see `Report.draw`."""
  report.draw(folder, files.read_metrics(folder), *figures)


def finish(
  report: Report,
  workdir: pathlib.Path,
  ends: Sequence[tuple[pathlib.Path, dict[str, Any], Any, np.ndarray | None]],
) -> dict[str, Any]:
  """Writes the summaries and plots, and logs the table.

  Args:
    report: what the run's task makes of its test set.
    workdir: work directory of the run.
    ends: per seed: its folder, summary, sums over the test set, and score matrix or None.

  Returns:
    The summary as written, of the single seed or over all seeds.
  """
  for folder, summary, sums, score in ends:
    files.write_json(folder / 'summary.json', summary)
    draw(folder, report, sums, score)
  summaries = [files.jsonable(end[1]) for end in ends]
  summary, table = summaries[0], report.summary_table(summaries[0])
  if len(ends) > 1:
    summary = group_summary(summaries)
    table = report.group_table(summary)
    files.write_json(workdir / 'summary.json', summary)
  log.info('%s\nWall time %.1f s on %s.', table, summary['wall_s'], summary['device'])
  return files.jsonable(summary)
