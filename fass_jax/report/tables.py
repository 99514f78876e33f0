"""Tables of metrics as text, for one seed or over several seeds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

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
NORM = 'confusion, spectral norm'
# of a run with an open set, see `open_set.figures`
OPEN_ROWS = (
  ('open_threshold', 'open set: threshold'),
  ('open_known_rejected', 'known images rejected'),
  ('open_unknown_rejected', 'unknown images rejected'),
  ('open_f_textbook', 'F'),
  ('open_f_published', "F of OLTR's program"),
  ('open_auroc', 'AUROC'),
  ('open_oscr', 'OSCR'),
)


def open_rows(figures: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
  """Returns the rows of an open set, () without one."""
  return OPEN_ROWS if 'open_auroc' in figures else ()


def percent(value: float | None) -> str:
  """Formats a fraction as a percentage with two decimals; None and NaN as a dash."""
  return '-' if value is None or not np.isfinite(value) else f'{100 * value:.2f}'


def plain(value: float | None) -> str:
  """Formats a number with four decimals; None, which older runs have, and NaN as a dash."""
  return '-' if value is None or not np.isfinite(value) else f'{value:.4f}'


def nats(value: float | None) -> str:
  """Formats an NLL; None means infinity (a class with prior 0), which JSON cannot represent."""
  return 'inf' if value is None else f'{value:.4f}'


def summary_table(summary: dict[str, Any]) -> str:
  """Returns a table of the metrics of the last and the best epoch, in percent."""
  last, best = summary['last'], summary['best']
  ece = next(k for k in last if k.startswith('ece_'))
  rows = [*ROWS, (ece, f'ECE ({ece[4:]} equal bins)')]
  lines = [
    f'{"":28}{"last epoch":>12}{"best epoch":>12}',
    f'{"epoch":28}{last["epoch"]:>12}{best["epoch"]:>12}',
    *(f'{label:28}{percent(last[key]):>12}{percent(best[key]):>12}' for key, label in rows),
    f'{NORM:28}{plain(last.get("confusion_norm")):>12}{plain(best.get("confusion_norm")):>12}',
    f'{"NLL (nats)":28}{nats(last["nll"]):>12}{nats(best["nll"]):>12}',
  ]
  if 'experts_used' in last:
    used = ''.join(f'{x["experts_used"]:>12.3f}' for x in (last, best))
    lines.append(f'{"experts used (mean)":28}{used}')
  lines += [
    f'{label:28}{percent(last[key]):>12}{percent(best[key]):>12}' for key, label in open_rows(last)
  ]
  of = ' of the network as trained' * ('classifier' in summary)
  note = f'(best: the epoch with the highest test top-1{of}, chosen on the test set)'
  return '\n'.join([*lines, note, *_of_classifier(summary, [summary])])


def _of_classifier(summary: dict[str, Any], runs: Sequence[dict[str, Any]]) -> list[str]:
  """Returns a line about the classifier of a table; no line for the network's own."""
  if 'classifier' not in summary:
    return []

  def both(values: dict[str, Any]) -> str:
    return f'{percent(values["last"])} last, {percent(values["best"])} best'

  def top1(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {part: float(np.mean([r[part]['top1'] for r in runs])) for part in ('last', 'best')}

  fitted = [
    f'{part} {", ".join(f"{k} {v:.4g}" for k, v in run["fitted"][part].items())}'
    for run in runs
    for part in (('last', 'best') if len(runs) == 1 else ('last',))
    if run['fitted'][part]
  ]
  how = f' ({"; ".join(fitted)})' if fitted else ''
  own = both(top1([r['as_trained'] for r in runs]))
  return [f'Classifier: {summary["classifier"]}{how}; the network as trained has {own}.']


def spread(values: Sequence[float | None]) -> dict[str, float]:
  """Returns mean, standard deviation and 95 % confidence interval of a metric over n seeds.

  The interval is mean +- t_{.975, n-1} sd / sqrt(n) (Student's t); NaN if n < 2.
  """
  x = np.asarray([np.nan if v is None else v for v in values], np.float64)
  n, mean = len(x), float(x.mean())
  if n < 2:
    return {'mean': mean, 'sd': float('nan'), 'low': float('nan'), 'high': float('nan')}
  sd = float(x.std(ddof=1))
  half = float(special.stdtrit(n - 1, 0.975)) * sd / n**0.5
  return {'mean': mean, 'sd': sd, 'low': mean - half, 'high': mean + half}


def group_summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Combines the summaries of several seeds."""
  # None stands for an empty shot group or an infinite NLL
  names = [k for k, v in runs[0]['last'].items() if v is None or isinstance(v, float)]
  shared = ('name', 'method', 'epochs', 'wall_s', 'device', 'classifier')

  def spreads(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
      part: {k: spread([r[part].get(k) for r in runs]) for k in names if k in runs[0][part]}
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
  """Returns a table of the metrics over several seeds, for last and best epoch, in percent."""

  def cell(v: dict[str, float]) -> str:
    if not np.isfinite(v['mean']):
      return f'{"-":>8}{"":25}'
    interval = f'[{percent(v["low"])}, {percent(v["high"])}]'
    return f'{percent(v["mean"]):>8} ± {percent(v["sd"]):<6}{interval:16}'

  n = len(group['seeds'])
  lines = [f'{f"{n} seeds: mean ± sd [95 %]":28}{"  last epoch":33}{"  best epoch"}']
  for key, label in (*ROWS, *open_rows(group['last'])):
    lines.append(f'{label:28}{cell(group["last"][key])}{cell(group["best"][key])}'.rstrip())
  return '\n'.join([*lines, *_of_classifier(group, group['runs'])])
