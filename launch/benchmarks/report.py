"""Formats the results of the benchmark as Markdown and writes them into the documentation."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

BEGIN, END = '<!-- benchmark -->', '<!-- end benchmark -->'
TARGET = 1.75  # goal for the time of a FASS step, in CE steps

NAMES = {
  'help_s': '`--help`, s (at most 2)',
  'digits_first_step_cold_s': 'from process start to the first step of the default run, with empty '
  'compile cache, s',
  'digits_first_step_warm_s': 'the same with warm compile cache, s (at most 8)',
  'digits_peak_mib': 'peak memory of this run, MiB',
  'copy_bandwidth_gb_per_s': 'measured copy bandwidth, GB/s',
  'xla_gflop_a_step': "a CE step by XLA's cost analysis, GFLOP",
  'xla_gb_a_step': 'the same, GB (an upper bound: a gather counts the whole set)',
  'by_hand_gflop_a_step': 'a CE step counted by hand, GFLOP',
  'by_hand_gb_a_step': 'the same, GB (ten accesses per convolution output)',
  'memory_s': 'memory limit, s per step',
  'arithmetic_s': 'arithmetic limit, s per step',
  'limit_s': 'the larger limit, s per step',
  'step_s': 'the fastest measured CE step, s',
  'share_of_limit': 'share of the limit: larger limit / fastest step',
}


def number(value: Any) -> str:
  """Formats a number with three to four digits."""
  if not isinstance(value, float):
    return str(value)
  return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def table(head: str, rows: Sequence[tuple[str, ...]]) -> str:
  """Returns a Markdown table; `head` has the column titles, separated by '|'."""
  columns = head.count('|') + 1
  lines = [f'| {head} |', '|' + '---|' * columns]
  return '\n'.join(lines + [f'| {" | ".join(row)} |' for row in rows])


def spreads(head: str, figures: dict[str, dict[str, float]]) -> str:
  """Returns a table of medians, minima and maxima."""
  return table(
    f'{head} | median | min | max',
    [(k, *(number(v[c]) for c in ('median', 'min', 'max'))) for k, v in figures.items()],
  )


def pairs(head: str, figures: dict[str, float]) -> str:
  """Returns a table of single numbers with readable names."""
  return table(f'{head} | value', [(NAMES.get(k, k.replace('_', ' ')), number(v))
                                   for k, v in figures.items()])  # fmt: skip


def growth_tables(growth: dict[str, Any]) -> list[str]:
  """Returns the tables of the costs per number of classes and per number of images."""
  rows = []
  for c, v in growth['classes'].items():
    if 'skipped' in v:
      rows.append((c, v['skipped'], '', '', '', ''))
      continue
    cells = (1e3 * v[k] for k in ('observe', 'choice', 'refresh'))
    rows.append((c, *map(number, cells), f'{100 * v["share"]:.2f}', f'{100 * v["goal"]:.0f}'))
  classes = table(
    'classes | adding a batch, ms | choosing partners, ms | refresh, ms per epoch | '
    '% of a CE step | goal, %',
    rows,
  )
  images = table(
    'images | step, ms | plan, ms per epoch | plan, ms per step',
    [
      (n, *(number(1e3 * v[k]) for k in ('step', 'plan', 'plan_per_step')))
      for n, v in growth['images'].items()
    ],
  )
  return [
    "Cost of FASS' own parts over the number of classes:", classes,
    'Time of a step (small network, 8 x 8 images) and of an epoch\'s plan over the images:',
    images,
  ]  # fmt: skip


def pipeline_tables(found: dict[str, Any]) -> list[str]:
  """Returns the tables of the host pipeline, two per sample."""
  parts = []
  for figures in found.values():
    s = figures['sample']
    versions = ', '.join(f'{k} {v}' for k, v in s['versions'].items())
    parts += [
      'Host pipeline: random resized crops of 224 pixels from JPEG files to batches of '
      f'{s["batch"]} in memory. {s["images"]} images ({s["source"]}), median {s["width"]:.0f} x '
      f'{s["height"]:.0f}, mean {s["kb"]:.0f} kB; {s["cores"]} cores, {versions}; '
      f'{figures["rounds"]} interleaved rounds of {figures["images_a_round"]} images.',
      spreads('images/s', figures['images_per_s']),
    ]
    if figures['ratios']:
      parts.append(spreads('ratio, round by round', figures['ratios']))
  return parts


def large_tables(found: dict[str, Any]) -> list[str]:
  """Returns the table of the network for large images."""
  rows = [
    (k, *(number(v[c]) for c in ('median', 'min', 'max')),
     f'{100 * found["share_of_matmul_rate"][k]:.0f}')
    for k, v in found['images_per_s'].items()
  ]  # fmt: skip
  return [
    f'ResNet-{found["depth"]} at {found["side"]} pixels ({found["gmac"]:.2f} G multiply-adds '
    'forward), with images on the device as squares or decoded by threads; the share counts three '
    'times that per image in a step, mixed images included:',
    table(
      'images/s | median | min | max | % of the rate of matrix products',
      rows + [(k, why, '', '', '') for k, why in found['skipped'].items()],
    ),
  ]


def training_tables(figures: dict[str, Any]) -> list[str]:
  """Returns the tables of train steps, loops, start-up, roofline and growth."""
  parts = [
    f'ResNet-{figures["depth"]}, batch {figures["batch_size"]}, {figures["rounds"]} interleaved '
    f'rounds of {figures["calls_per_round"]} calls, {figures["wall_s"]:.0f} s in total. '
    'images/s counts the natural images of a step; FASS has rho 0.3 and all views active.',
    spreads('images/s', figures['images_per_s']),
    f'Ratios, round by round (time fass / ce: at most {TARGET}):',
    spreads('ratio', figures['ratios']),
  ]
  if 'loader' in figures:
    rows = [
      (m, number(v['images_per_s']['median']), str(v['workers']), number(v['ours_over_theirs']))
      for m, v in figures['loader'].items()
    ]
    parts += [
      'PyTorch with a DataLoader, without other processes:',
      table('method | images/s | workers | fass_jax / DataLoader', rows),
    ]
  return [
    *parts,
    pairs('start-up', figures['start_up']),
    pairs('roofline', figures['roofline']),
    *growth_tables(figures['growth']),
  ]


def markdown(figures: dict[str, Any]) -> str:
  """Returns all results as Markdown."""
  versions = ', '.join(f'{k} {v}' for k, v in figures['versions'].items())
  parts = [f'**{figures["device"]}**, {figures["cpu_cores"]} CPU cores, {versions}.']
  if 'images_per_s' in figures:
    parts += training_tables(figures)
  parts += pipeline_tables(figures.get('pipeline', {}))
  if 'large' in figures:
    parts += large_tables(figures['large'])
  return '\n\n'.join(parts) + '\n'


def save(figures: dict[str, Any], repo: pathlib.Path, keys: Sequence[str]) -> None:
  """Writes results/benchmark-<device>.json and updates the section of docs/performance.md.

  Args:
    figures: all results.
    repo: the checkout.
    keys: the keys to update if the file exists.
  """
  device = re.sub(r'[^a-z0-9]+', '-', figures['device'].lower()).strip('-')
  folder = repo / 'results'
  folder.mkdir(exist_ok=True)
  file = folder / f'benchmark-{device}.json'
  if file.exists():
    figures = json.loads(file.read_text()) | {k: figures[k] for k in keys}
  file.write_text(json.dumps(figures, indent=2) + '\n')
  path = repo / 'docs' / 'performance.md'
  path.write_text(renewed(path.read_text(), folder))


def renewed(page: str, folder: pathlib.Path) -> str:
  """Returns docs/performance.md with the tables of all results in a folder."""
  known = [json.loads(p.read_text()) for p in sorted(folder.glob('benchmark-*.json'))]
  before, rest = page.split(BEGIN)
  body = '\n'.join(markdown(f) for f in known)
  return f'{before}{BEGIN}\n{body}{END}{rest.split(END)[1]}'
