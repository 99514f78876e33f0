"""What a run shows a person: lines on the terminal, tables, TensorBoard events."""

from __future__ import annotations

import logging
import pathlib
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy import special
from tqdm import tqdm

from fass_jax import workdir as files
from fass_jax.metrics import edges_of, groups_of
from fass_jax.types import Dataset

log = logging.getLogger('fass_jax')

ROWS = (
  ('top1', 'top-1 accuracy'),
  ('many', 'many-shot'),
  ('medium', 'medium-shot'),
  ('few', 'few-shot'),
  ('worst_class', 'worst class'),
  ('worst_tenth', 'worst tenth of the classes'),
  ('balanced_error', 'balanced error'),
  ('macro_f1', 'macro F1'),
)


def percent(value: float | None) -> str:
  """Formats a fraction as a percentage with two digits; None and NaN as a dash."""
  return '-' if value is None or not np.isfinite(value) else f'{100 * value:.2f}'


def opening(config: ConfigDict, data: Dataset, workdir: pathlib.Path) -> str:
  """Returns the lines that a run begins with."""
  counts = np.bincount(data.train_labels, minlength=len(data.class_names))
  groups = groups_of(config.eval, counts)
  sizes = ', '.join(f'{int(m.sum())} {name}' for name, m in groups.items()) + '-shot classes'
  many, few = edges_of(config.eval, counts)
  if (many, few) != (config.eval.many, config.eval.few):
    sizes += f', many above {many} images, few below {few}'
  held = '' if data.held_labels is None else f', {len(data.held_labels)} held out'
  last = config.seed + config.seeds - 1
  seeds = f'seed {config.seed}' if config.seeds == 1 else f'seeds {config.seed} to {last}'
  return (
    f'{config.name}, method {config.method}, {seeds}: {len(data.train_labels)} training '
    f'images ({counts.max()} to {counts.min()} a class; {sizes}), '
    f'{len(data.test_labels)} test images{held}.\nWork directory: {workdir}'
  )


def open_run(config: ConfigDict, data: Dataset, workdir: pathlib.Path) -> None:
  """Says what is about to run, and draws the class counts of a set that people bring themselves."""
  log.info(opening(config, data, workdir))
  if not data.side:
    return
  from fass_jax import pictures  # late: matplotlib takes a second to import

  counts = np.bincount(data.train_labels, minlength=len(data.class_names))
  pictures.draw_counts(workdir, counts, groups_of(config.eval, counts))


def show_epoch(bar: tqdm, records: Sequence[dict[str, Any]], epochs: int) -> None:
  """Shows an epoch on the progress bar, or now and then in the log where there is no terminal."""
  record = records[0]
  epoch = record['epoch']

  def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))

  accuracy = ''
  if 'test' in record:
    accuracy = f'test {percent(mean(r["test"]["top1"] for r in records))}'
  bar.set_postfix_str(f'epoch {epoch}/{epochs} {accuracy}', refresh=False)
  if bar.disable and (epoch * 10) // epochs != ((epoch - 1) * 10) // epochs:
    log.info(
      'epoch %d/%d: loss %.3f, train %s, %s, %.0f images/s', epoch, epochs,
      mean(r['loss'] for r in records), percent(mean(r['train_top1'] for r in records)), accuracy,
      record['images_per_s'],
    )  # fmt: skip


def nats(value: float | None) -> str:
  """Formats an NLL; JSON has no infinity, which a class without a prior comes to."""
  return 'inf' if value is None else f'{value:.4f}'


def summary_table(summary: dict[str, Any]) -> str:
  """Returns the metrics of the last and the best epoch side by side, in percent."""
  last, best = summary['last'], summary['best']
  ece = next(k for k in last if k.startswith('ece_'))
  rows = [*ROWS, (ece, f'ECE ({ece[4:]} equal bins)')]
  lines = [
    f'{"":28}{"last epoch":>12}{"best epoch":>12}',
    f'{"epoch":28}{last["epoch"]:>12}{best["epoch"]:>12}',
    *(f'{label:28}{percent(last[key]):>12}{percent(best[key]):>12}' for key, label in rows),
    f'{"NLL (nats)":28}{nats(last["nll"]):>12}{nats(best["nll"]):>12}',
  ]
  if 'experts_used' in last:
    used = ''.join(f'{x["experts_used"]:>12.3f}' for x in (last, best))
    lines.append(f'{"experts used (mean)":28}{used}')
  of = ' of the network as trained' * ('classifier' in summary)
  note = f'(best: the epoch with the highest test top-1{of}, chosen on the test set)'
  return '\n'.join([*lines, note, *_of_classifier(summary, [summary])])


def _of_classifier(summary: dict[str, Any], runs: Sequence[dict[str, Any]]) -> list[str]:
  """Returns the lines that say which classifier a table is of, if not the network's own."""
  if 'classifier' not in summary:
    return []

  def both(values: dict[str, Any]) -> str:
    return f'{percent(values["last"])} last, {percent(values["best"])} best'

  def top1(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {part: float(np.mean([r[part]['top1'] for r in runs])) for part in ('last', 'best')}

  fitted = [
    f'{part} {", ".join(f"{k} {v:.4g}" for k, v in run["fitted"][part].items())}'
    for run in runs
    for part in (('last', 'best') if len(runs) == 1 else ('last',)) if run['fitted'][part]
  ]  # fmt: skip
  how = f' ({"; ".join(fitted)})' if fitted else ''
  own = both(top1([r['as_trained'] for r in runs]))
  return [f'Classifier: {summary["classifier"]}{how}; the network as trained has {own}.']


class Board:
  """TensorBoard events beside metrics.jsonl, if tensorboardX is installed."""

  def __init__(self, workdir: pathlib.Path):
    self.events: Any = None
    # tensorboardX imports PyTorch where it finds it, two seconds of a start, and needs none here
    hidden = 'torch' not in sys.modules
    if hidden:
      sys.modules['torch'] = None  # type: ignore[assignment]
    try:
      # not its SummaryWriter: a full disk would end that one's thread and not the run
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
    """Writes an epoch's numbers; nested names are joined by '/'."""
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

  def __enter__(self) -> Board:
    return self

  def __exit__(self, *error: Any) -> None:
    if self.events is not None:
      self.events.close()


def spread(values: Sequence[float | None]) -> dict[str, float]:
  """Returns mean, standard deviation and 95 % interval of a figure over seeds.

  The interval is mean +- t_{.975, n-1} sd / sqrt(n) (Student's t); NaN where n < 2.
  """
  x = np.asarray([np.nan if v is None else v for v in values], np.float64)
  n, mean = len(x), float(x.mean())
  if n < 2:
    return {'mean': mean, 'sd': float('nan'), 'low': float('nan'), 'high': float('nan')}
  sd = float(x.std(ddof=1))
  half = float(special.stdtrit(n - 1, 0.975)) * sd / n**0.5
  return {'mean': mean, 'sd': sd, 'low': mean - half, 'high': mean + half}


def group_summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Joins the summaries of several seeds into one."""
  # None: a shot group without a class, or an infinite NLL
  names = [k for k, v in runs[0]['last'].items() if v is None or isinstance(v, float)]
  shared = ('name', 'method', 'epochs', 'wall_s', 'device', 'classifier')

  def spreads(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
      part: {k: spread([r[part][k] for r in runs]) for k in names if k in runs[0][part]}
      for part in ('last', 'best')
    }

  own = [r['as_trained'] for r in runs if 'as_trained' in r]
  return {
    **{k: runs[0][k] for k in shared if k in runs[0]},
    'seeds': [r['seed'] for r in runs],
    **spreads(runs),
    **({'as_trained': spreads(own)} if own else {}),
    'runs': list(runs),
  }


def group_table(group: dict[str, Any]) -> str:
  """Returns the metrics of several seeds, last and best epoch side by side, in percent."""

  def cell(v: dict[str, float]) -> str:
    if not np.isfinite(v['mean']):
      return f'{"-":>8}{"":25}'
    interval = f'[{percent(v["low"])}, {percent(v["high"])}]'
    return f'{percent(v["mean"]):>8} ± {percent(v["sd"]):<6}{interval:16}'

  n = len(group['seeds'])
  lines = [f'{f"{n} seeds: mean ± sd [95 %]":28}{"  last epoch":33}{"  best epoch"}']
  for key, label in ROWS:
    lines.append(f'{label:28}{cell(group["last"][key])}{cell(group["best"][key])}'.rstrip())
  return '\n'.join([*lines, *_of_classifier(group, group['runs'])])


def finish(
  config: ConfigDict,
  data: Dataset,
  workdir: pathlib.Path,
  ends: Sequence[tuple[pathlib.Path, dict[str, Any], np.ndarray, np.ndarray | None]],
) -> dict[str, Any]:
  """Writes the summaries and the pictures and prints the table.

  Args:
    config: of the runs.
    data: what they trained on.
    workdir: of the session.
    ends: of each run: its folder, summary, confusion matrix, score matrix if it kept one.

  Returns:
    The summary as written: of the run, or of all seeds.
  """
  from fass_jax import pictures  # late: matplotlib takes a second to import

  counts = np.bincount(data.train_labels, minlength=len(data.class_names))
  groups = groups_of(config.eval, counts)
  for folder, summary, confusion, score in ends:
    files.write_json(folder / 'summary.json', summary)
    pictures.draw_all(
      folder, files.read_metrics(folder), confusion, score, counts, groups, data.class_names
    )
  summaries = [files.jsonable(end[1]) for end in ends]
  summary, table = summaries[0], summary_table(summaries[0])
  if len(ends) > 1:
    summary = group_summary(summaries)
    table = group_table(summary)
    files.write_json(workdir / 'summary.json', summary)
  log.info('%s\nWall time %.1f s on %s.', table, summary['wall_s'], summary['device'])
  return files.jsonable(summary)
