"""Runs the tables of results and writes the report.

    python launch/tables.py --table=digits --seeds=5 --budget=20m
    python launch/tables.py --report

Rows that the ledger `results/<table>.jsonl` holds already are skipped, so a stopped table goes on
where it stopped. Nothing but this program writes the ledger, and the report (docs/results.md and
the tables between the markers in README.md) is written from it alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import pathlib
import platform
import runpy
import statistics
import subprocess
import sys
import time
from typing import Any

REPO = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

from fass_jax import main, train  # noqa: E402
from fass_jax.report import percent  # noqa: E402
from fass_jax.types import UserError  # noqa: E402

TABLES = runpy.run_path(str(REPO / 'configs' / 'tables.py'))['TABLES']
COLUMNS = ('top1', 'many', 'medium', 'few', 'worst_class')
KEPT = (*COLUMNS, 'epoch', 'worst_tenth', 'balanced_error', 'macro_f1', 'nll')


def ledger(table: str, results: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the rows that were run."""
  path = results / f'{table}.jsonl'
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def identity(row: dict[str, Any]) -> str:
  """Returns what makes two rows the same run."""
  keys = ('config', 'method', 'overrides', 'seed', 'subset_seed', 'epochs')
  return json.dumps([row[k] for k in keys], sort_keys=True)


def commit() -> str:
  """Returns the commit of the checkout, with '+' if files other than results differ from it."""
  git = ['git', '-C', str(REPO)]
  try:
    head = subprocess.check_output([*git, 'rev-parse', '--short=12', 'HEAD'], text=True).strip()
    changed = subprocess.check_output(
      [*git, 'status', '--porcelain', '-uno', '--', 'fass_jax', 'configs'], text=True
    )
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  return head + ('+' if changed.strip() else '')


def arguments(
  table: dict[str, Any], method: str, overrides: dict[str, Any], seed: int
) -> list[str]:
  """Returns the command line of a row, without the work directory."""
  sets = [f'--config.{k}={v}' for k, v in {**table.get('overrides', {}), **overrides}.items()]
  return [f'--config={REPO / table["config"]}:{method}', *sets, f'--config.seed={seed}']


def run_row(
  table: dict[str, Any], method: str, overrides: dict[str, Any], seed: int, extra: list[str],
  runs: pathlib.Path, results: list[dict[str, Any]],
) -> dict[str, Any] | None:  # fmt: skip
  """Runs a row, or returns None if the ledger has it."""
  args = [*arguments(table, method, overrides, seed), *extra]
  config, _, given = main.load_config(args)
  row = {
    'config': config.name,
    'method': method,
    'overrides': {
      k: v for k, v in given.items() if k != 'seed' and not k.startswith(('data.dir', 'data.cache'))
    },
    'seed': seed,
    'subset_seed': config.data.subset_seed,
    'epochs': config.epochs,
  }
  row = json.loads(json.dumps(row))
  if identity(row) in {identity(r) for r in results}:
    return None
  label = '-'.join(f'{k}={v}' for k, v in row['overrides'].items())
  name = f'{config.name}-{method}-{label}-seed{seed}'.replace(' ', '').replace('/', '_')
  summary = train.run(config, runs / name[:200])
  return row | {
    'last': {k: summary['last'][k] for k in KEPT},
    'best': {k: summary['best'][k] for k in KEPT},
    'wall_s': round(summary['wall_s'], 1),
    'device': summary['device'],
    'versions': {
      'python': platform.python_version(),
      **{p: importlib.metadata.version(p) for p in ('jax', 'flax', 'optax', 'numpy')},
    },
    'commit': commit(),
  }


def run_table(name: str, seeds: int, budget_s: float, extra: list[str], runs, results) -> None:
  """Runs a table seed by seed, so that a short budget still gives every row a figure."""
  table, begin = TABLES[name], time.monotonic()
  results.mkdir(parents=True, exist_ok=True)
  for seed in range(seeds):
    for label, method, overrides in table['rows']:
      if time.monotonic() - begin > budget_s:
        print(f'The budget of {budget_s:.0f} s is spent; the same command goes on.')
        return
      row = run_row(table, method, overrides, seed, extra, runs, ledger(name, results))
      if row is not None:
        with open(results / f'{name}.jsonl', 'a') as file:
          file.write(json.dumps(row) + '\n')
        print(f'{label}, seed {seed}: {percent(row["last"]["top1"])} last, '
              f'{percent(row["best"]["top1"])} best', flush=True)  # fmt: skip


def cell(values: list[float | None]) -> str:
  """Formats several seeds of one figure: mean +- sd in percent."""
  known = [100 * v for v in values if v is not None]
  if not known:
    return '-'
  spread = f' ± {statistics.stdev(known):.2f}' if len(known) > 1 else ''
  return f'{statistics.mean(known):.2f}{spread}'


def markdown(name: str, results: pathlib.Path) -> str:
  """Returns a table of results as Markdown, from the ledger alone."""
  table, rows = TABLES[name], ledger(name, results)
  lines = [
    f'**{table["title"]}**: top-1 on the test set in percent, mean ± sd over seeds; best = the '
    'epoch with the highest test top-1, chosen on the test set.',
    '',
    '| | method | seeds | last | many | medium | few | worst class | best | wall s |',
    '|---|---|---|---|---|---|---|---|---|---|',
  ]
  for label, method, overrides in table['rows']:
    wanted = json.loads(json.dumps(overrides))
    mine = [r for r in rows if r['method'] == method and r['overrides'] == wanted]
    last = [cell([r['last'][k] for r in mine]) for k in COLUMNS]
    best = cell([r['best']['top1'] for r in mine])
    wall = f'{statistics.median(r["wall_s"] for r in mine):.0f}' if mine else '-'
    sets = ''.join(f' `{k}={v}`' for k, v in overrides.items())
    lines.append(
      f'| {label} | `{method}`{sets} | {len(mine)} | {" | ".join(last)} | {best} | {wall} |'
    )
  devices = sorted({r['device'] for r in rows})
  return '\n'.join([*lines, '', f'Device: {", ".join(devices) or "-"}.'])


def write_report(results: pathlib.Path, docs: pathlib.Path, readme: pathlib.Path) -> None:
  """Writes docs/results.md, and the table between the markers of the README."""
  parts = ['# Results', 'Written by `python launch/tables.py --report` from `results/`.']
  docs.mkdir(parents=True, exist_ok=True)
  (docs / 'results.md').write_text(
    '\n\n'.join([*parts, *(markdown(n, results) for n in TABLES)]) + '\n'
  )
  text = readme.read_text()
  for name in TABLES:
    begin, end = f'<!-- results {name} -->', f'<!-- end {name} -->'
    if begin in text:
      head, rest = text.split(begin)
      text = f'{head}{begin}\n{markdown(name, results)}\n{end}{rest.split(end)[1]}'
  readme.write_text(text)


def seconds(text: str) -> float:
  """Reads '90', '90s', '20m' or '2h' as seconds."""
  unit = {'s': 1, 'm': 60, 'h': 3600}
  return float(text[:-1]) * unit[text[-1]] if text[-1] in unit else float(text)


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
  """Reads the command line; what it does not know goes to every run (`--config.data.dir=...`)."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--table', choices=TABLES)
  parser.add_argument('--seeds', type=int, default=3)
  parser.add_argument('--budget', type=seconds, default=float('inf'), help='such as 20m')
  parser.add_argument('--report', action='store_true')
  parser.add_argument('--runs', type=pathlib.Path, default=REPO / 'runs' / 'tables')
  parser.add_argument('--results', type=pathlib.Path, default=REPO / 'results')
  return parser.parse_known_args(argv)


def run(argv: list[str] | None = None) -> int:
  """Runs the command line."""
  args, extra = parse(argv)
  logging.getLogger('fass_jax').setLevel(logging.WARNING)
  try:
    if args.table:
      run_table(args.table, args.seeds, args.budget, extra, args.runs, args.results)
    if args.report:
      write_report(args.results, REPO / 'docs', REPO / 'README.md')
  except UserError as error:
    print(f'tables: {error}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(run())
