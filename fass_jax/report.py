"""What a run shows a person: lines on the terminal, tables, TensorBoard events."""

from __future__ import annotations

import logging
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from fass_jax import workdir as files
from fass_jax.evaluate import shot_groups
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
  groups = shot_groups(counts, config.eval.many, config.eval.few)
  sizes = ', '.join(f'{int(m.sum())} {name}' for name, m in groups.items())
  return (
    f'{config.name}, method {config.method}, seed {config.seed}: {len(data.train_labels)} training '
    f'images ({counts.max()} to {counts.min()} a class; {sizes}-shot classes), '
    f'{len(data.test_labels)} test images.\nWork directory: {workdir}'
  )


def show_epoch(bar: tqdm, record: dict[str, Any], epochs: int) -> None:
  """Shows an epoch on the progress bar, or now and then in the log where there is no terminal."""
  test = record.get('test')
  accuracy = f'test {percent(test["top1"])}' if test else ''
  bar.set_postfix_str(f'epoch {record["epoch"]}/{epochs} {accuracy}', refresh=False)
  if bar.disable and (record['epoch'] * 10) // epochs != ((record['epoch'] - 1) * 10) // epochs:
    log.info(
      'epoch %d/%d: loss %.3f, train %s, %s, %.0f images/s', record['epoch'], epochs,
      record['loss'], percent(record['train_top1']), accuracy, record['images_per_s'],
    )  # fmt: skip


def summary_table(summary: dict[str, Any]) -> str:
  """Returns the metrics of the last and the best epoch side by side, in percent."""
  last, best = summary['last'], summary['best']
  ece = next(k for k in last if k.startswith('ece_'))
  rows = [*ROWS, (ece, f'ECE ({ece[4:]} equal bins)')]
  lines = [
    f'{"":28}{"last epoch":>12}{"best epoch":>12}',
    f'{"epoch":28}{last["epoch"]:>12}{best["epoch"]:>12}',
    *(f'{label:28}{percent(last[key]):>12}{percent(best[key]):>12}' for key, label in rows),
    f'{"NLL (nats)":28}{last["nll"]:>12.4f}{best["nll"]:>12.4f}',
  ]
  note = '(best: the epoch with the highest test top-1, chosen on the test set)'
  return '\n'.join([*lines, note])


class Board:
  """TensorBoard events beside metrics.jsonl, if tensorboardX is installed."""

  def __init__(self, workdir: pathlib.Path):
    self.writer: Any = None
    try:
      from tensorboardX import SummaryWriter
    except ImportError:
      return
    self.writer = SummaryWriter(str(workdir / 'tensorboard'))

  def add(self, record: dict[str, Any]) -> None:
    """Writes an epoch's numbers; nested names are joined by '/'."""
    if self.writer is None:
      return

    def walk(prefix: str, value: Any) -> None:
      if isinstance(value, dict):
        for key, inner in value.items():
          walk(f'{prefix}/{key}' if prefix else key, inner)
      elif isinstance(value, int | float) and np.isfinite(value):
        self.writer.add_scalar(prefix, value, record['epoch'])

    walk('', record)
    self.writer.flush()

  def __enter__(self) -> Board:
    return self

  def __exit__(self, *error: Any) -> None:
    if self.writer is not None:
      self.writer.close()  # ends its thread; left to the interpreter's end it fails


def finish(
  config: ConfigDict,
  data: Dataset,
  workdir: pathlib.Path,
  summary: dict[str, Any],
  confusion: np.ndarray,
  score: np.ndarray | None,
) -> dict[str, Any]:
  """Writes summary.json and the pictures, prints the table; returns the summary as written."""
  from fass_jax import pictures  # late: matplotlib takes a second to import

  summary = files.jsonable(summary)
  files.write_json(workdir / 'summary.json', summary)
  counts = np.bincount(data.train_labels, minlength=len(data.class_names))
  groups = shot_groups(counts, config.eval.many, config.eval.few)
  pictures.draw_all(
    workdir, files.read_metrics(workdir), confusion, score, counts, groups, data.class_names
  )
  log.info('%s\nWall time %.1f s on %s.', summary_table(summary), summary['wall_s'],
           summary['device'])  # fmt: skip
  return summary
