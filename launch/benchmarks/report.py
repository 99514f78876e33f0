"""The benchmark's figures as Markdown, and their place in the documentation."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

BEGIN, END = '<!-- benchmark -->', '<!-- end benchmark -->'
TARGET = 1.75  # a FASS step may cost this many CE steps

NAMES = {
  'help_s': '`--help`, s (at most 2)',
  'digits_first_step_cold_s': 'first step of the default run from the start of the process, '
  'compile cache empty, s',
  'digits_first_step_warm_s': 'the same, compile cache warm, s (at most 8)',
  'digits_peak_mib': 'peak memory of it, MiB',
  'copy_bandwidth_gb_per_s': 'measured copy bandwidth, GB/s',
  'xla_gflop_a_step': "a CE step as XLA's cost analysis counts it, GFLOP",
  'xla_gb_a_step': 'the same, GB (an upper bound: a gather counts the whole set)',
  'by_hand_gflop_a_step': 'a CE step counted by hand, GFLOP',
  'by_hand_gb_a_step': 'the same, GB (ten touches of each convolution output)',
  'memory_s': 'limit by memory, s a step',
  'arithmetic_s': 'limit by arithmetic, s a step',
  'limit_s': 'the larger, s a step',
  'step_s': 'the best CE step measured, s',
  'share_of_limit': 'share of the limit that it reaches',
}


def number(value: Any) -> str:
  """Formats a figure with three to four digits."""
  if not isinstance(value, float):
    return str(value)
  return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def table(head: str, rows: Sequence[tuple[str, ...]]) -> str:
  """Returns a Markdown table; `head` names the columns, separated by bars."""
  columns = head.count('|') + 1
  lines = [f'| {head} |', '|' + '---|' * columns]
  return '\n'.join(lines + [f'| {" | ".join(row)} |' for row in rows])


def spreads(head: str, figures: dict[str, dict[str, float]]) -> str:
  """Returns a table of medians with their ranges."""
  return table(
    f'{head} | median | min | max',
    [(k, *(number(v[c]) for c in ('median', 'min', 'max'))) for k, v in figures.items()],
  )


def pairs(head: str, figures: dict[str, float]) -> str:
  """Returns a table of single figures under readable names."""
  return table(f'{head} | value', [(NAMES.get(k, k.replace('_', ' ')), number(v))
                                   for k, v in figures.items()])  # fmt: skip


def growth_tables(growth: dict[str, Any]) -> list[str]:
  """Returns the tables of how costs grow with the classes and with the set."""
  rows = []
  for c, v in growth['classes'].items():
    if 'skipped' in v:
      rows.append((c, v['skipped'], '', '', '', ''))
      continue
    cells = (1e3 * v[k] for k in ('observe', 'choice', 'refresh'))
    rows.append((c, *map(number, cells), f'{100 * v["share"]:.2f}', f'{100 * v["goal"]:.0f}'))
  classes = table(
    'classes | adding a batch, ms | choosing partners, ms | refresh, ms an epoch | '
    '% of a CE step | at most',
    rows,
  )
  images = table(
    'images | step, ms | plan, ms an epoch | plan, ms a step',
    [
      (n, *(number(1e3 * v[k]) for k in ('step', 'plan', 'plan_per_step')))
      for n, v in growth['images'].items()
    ],
  )
  return [
    "What FASS' own pieces cost as the classes grow:", classes,
    'A step (small network, 8 x 8 images) and an epoch\'s plan as the set grows:', images,
  ]  # fmt: skip


def pipeline_tables(found: dict[str, Any]) -> list[str]:
  """Returns the tables of the host pipeline, a pair for each sample."""
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
    'forward), images on the device as squares or decoded by threads; the share counts three times '
    'that for every image of a step, mixed ones too:',
    table(
      'images/s | median | min | max | % of the rate of matrix products',
      rows + [(k, why, '', '', '') for k, why in found['skipped'].items()],
    ),
  ]


def training_tables(figures: dict[str, Any]) -> list[str]:
  """Returns the tables of train steps, loops, start-up, roofline and growth."""
  parts = [
    f'ResNet-{figures["depth"]}, batch {figures["batch_size"]}, {figures["rounds"]} interleaved '
    f'rounds of {figures["calls_per_round"]} calls; the whole took {figures["wall_s"]:.0f} s. '
    'images/s counts the natural images of a step; FASS with rho 0.3, all views on.',
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
      'PyTorch with a DataLoader, alone on the machine:',
      table('method | images/s | workers | fass_jax / it', rows),
    ]
  return [
    *parts,
    pairs('start-up', figures['start_up']),
    pairs('roofline', figures['roofline']),
    *growth_tables(figures['growth']),
  ]


def markdown(figures: dict[str, Any]) -> str:
  """Returns everything that was measured, as Markdown."""
  versions = ', '.join(f'{k} {v}' for k, v in figures['versions'].items())
  parts = [f'**{figures["device"]}**, {figures["cpu_cores"]} CPU cores, {versions}.']
  if 'images_per_s' in figures:
    parts += training_tables(figures)
  parts += pipeline_tables(figures.get('pipeline', {}))
  if 'large' in figures:
    parts += large_tables(figures['large'])
  return '\n\n'.join(parts) + '\n'


def save(figures: dict[str, Any], repo: pathlib.Path, keys: Sequence[str]) -> None:
  """Writes results/benchmark-<device>.json and renews the section of docs/performance.md.

  Args:
    figures: everything that was measured.
    repo: the checkout.
    keys: those that are renewed in a file that is there already.
  """
  device = re.sub(r'[^a-z0-9]+', '-', figures['device'].lower()).strip('-')
  folder = repo / 'results'
  folder.mkdir(exist_ok=True)
  file = folder / f'benchmark-{device}.json'
  if file.exists():
    figures = json.loads(file.read_text()) | {k: figures[k] for k in keys}
  file.write_text(json.dumps(figures, indent=2) + '\n')
  known = [json.loads(p.read_text()) for p in sorted(folder.glob('benchmark-*.json'))]
  path = repo / 'docs' / 'performance.md'
  before, rest = path.read_text().split(BEGIN)
  after = rest.split(END)[1]
  body = '\n'.join(markdown(f) for f in known)
  path.write_text(f'{before}{BEGIN}\n{body}{END}{after}')
