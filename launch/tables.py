"""Runs the tables of results and writes the report.

    python launch/tables.py --table=4 --seeds=3 --budget=20m
    python launch/tables.py --table=digits_methods --only='*fass*' --list
    python launch/tables.py --report

The results of all runs are in the ledgers `results/*.jsonl`. A command runs whatever the ledgers
still lack, the most informative runs first; results of other tables count too. If a run is stopped
by the budget, Ctrl-C or a crash, the same command continues it from its work directory. Only this
program writes the ledgers, and it generates the report (docs/results.md and the tables between the
markers in README.md) from them. Unknown flags are passed to every run (`--config.data.dir=DIR`).
"""

from __future__ import annotations

import argparse
import collections
import importlib.metadata
import logging
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

REPO = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

from fass_jax.command import log
from fass_jax.report.tables import percent
from fass_jax.run import loop
from fass_jax.types import Diverged, UserError
from launch.ledger import ledger as book
from launch.ledger import report
from launch.ledger.plan import (
  Job,
  config_of,
  duration,
  expected,
  list_jobs,
  make_job,
  name_of,
  plan,
)

TABLES = book.TABLES
KEPT = (
  *('top1', 'many', 'medium', 'few', 'worst_class', 'epoch', 'worst_tenth', 'balanced_error'),
  *('macro_f1', 'nll'),
  # of runs that predict numbers
  *('mae', 'many_mae', 'medium_mae', 'few_mae', 'mse', 'rmse', 'gm', 'many_gm', 'medium_gm'),
  *('few_gm', 'pearson', 'spearman'),
)


def commit() -> str:
  """Returns the commit of the checkout, with '+' if fass_jax or configs have local changes."""
  git = ['git', '-C', str(REPO)]
  try:
    head = subprocess.check_output([*git, 'rev-parse', '--short=12', 'HEAD'], text=True).strip()
    changed = subprocess.check_output(
      [*git, 'status', '--porcelain', '-uno', '--', 'fass_jax', 'configs'], text=True
    )
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  return head + ('+' if changed.strip() else '')


def run_job(job: Job, stop: Callable[[], str]) -> list[dict[str, Any]]:
  """Trains the seeds of a job and returns one line of the ledger per seed."""
  config = config_of(job)
  summary = loop.run(config, job.folder, stop)
  lines = []
  for run in summary.get('runs', [summary]):
    line = {
      'config': config.name,
      'method': job.row.method,
      'overrides': job.run.overrides,
      'seed': run['seed'],
      'subset_seed': config.data.subset_seed,
      'epochs': config.epochs,
      'last': {k: run['last'][k] for k in KEPT if k in run['last']},
      'best': {k: run['best'][k] for k in KEPT if k in run['best']},
      'wall_s': round(summary['wall_s'] / len(job.seeds), 1),  # the seed's share
      'device': run['device'],
      'versions': {
        'python': platform.python_version(),
        **{p: importlib.metadata.version(p) for p in ('jax', 'flax', 'optax', 'numpy')},
      },
      'commit': commit(),
      'settings': job.run.settings,
    }
    lines.append(line | ({'together': len(job.seeds)} if len(job.seeds) > 1 else {}))
  return lines


def show(lines: Sequence[dict[str, Any]], job: Job) -> None:
  """Prints the results of a job."""
  for line in lines:
    key = next(k for k in ('top1', 'mae') if k in line['last'])
    word = percent if key == 'top1' else f'{key} {{:.4g}}'.format
    figures = f'{word(line["last"][key])} last, {word(line["best"][key])} best'
    print(f'{name_of(job._replace(seeds=(line["seed"],)))}: {figures}', flush=True)


def run_jobs(
  name: str, jobs: Sequence[Job], budget_s: float, again: Callable[[Job, int], Job],
  results: pathlib.Path, clock: Callable[[], float] = time.monotonic,
) -> int:  # fmt: skip
  """Runs jobs until the budget is spent and returns the exit code.

  Args:
    name: the table; its ledger receives the results.
    jobs: jobs in order.
    budget_s: seconds; a job that would exceed them is not started, and a running job is saved.
    again: (job, seed) -> the job for this seed only.
    results: folder of the ledgers.
    clock: returns the time in seconds.

  Raises:
    UserError: for an error that affects all rows, such as missing data.
  """
  end, code, waiting = clock() + budget_s, 0, []
  queue = collections.deque(jobs)
  with log.StopSignals() as asked:
    while queue and not asked() and clock() < end:
      job = queue.popleft()
      need = expected(job, book.everything(results, name))
      if need is not None and clock() + need > end and not (job.folder / 'config.json').exists():
        waiting.append((job, need))
        continue
      try:
        lines = run_job(job, lambda: asked() or ('' if clock() < end else 'The budget is spent'))
      except loop.Stopped as stopped:
        print(f'{name_of(job)}: {stopped}')
        queue.appendleft(job)
        break
      except Diverged as error:
        print(f'{name_of(job)}: {error}', file=sys.stderr)
        code = 1
        if len(job.seeds) > 1:  # run the seeds one by one, so that the others are not lost
          queue.extendleft(again(job, s) for s in reversed(job.seeds))
        continue
      book.append(name, results, lines)
      show(lines, job)
  if asked():
    return 128 + int(signal.Signals[asked()])
  if waiting:
    job, need = waiting[0]
    print(f'{len(waiting)} not started: the first, {name_of(job)}, takes about {duration(need)}, '
          f'which exceeds the rest of the budget of {duration(budget_s)}.')  # fmt: skip
  if queue:
    print(f'The budget of {duration(budget_s)} is spent; start the same command to continue.')
  return code


def seconds(text: str) -> float:
  """Converts '90', '90s', '20m' or '2h' to seconds."""
  unit = {'s': 1, 'm': 60, 'h': 3600}
  return float(text[:-1]) * unit[text[-1]] if text[-1:] in unit else float(text)


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
  """Parses the command line; the second result is the flags for every run."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--table', choices=TABLES)
  parser.add_argument('--seeds', type=int, default=3, help='seeds 0, 1, ... of every row')
  parser.add_argument('--together', type=int, default=0, help='most seeds in one process')
  parser.add_argument('--only', default='*', help='pattern of method strings, e.g. *fass*')
  parser.add_argument('--list', action='store_true', help='list the runs and their expected times')
  parser.add_argument('--budget', type=seconds, default=float('inf'), help='time limit, e.g. 20m')
  parser.add_argument('--report', action='store_true')
  parser.add_argument('--runs', type=pathlib.Path, default=REPO / 'runs' / 'tables')
  parser.add_argument('--results', type=pathlib.Path, default=REPO / 'results')
  args, extra = parser.parse_known_args(argv)
  if args.seeds < 1 or args.together < 0:
    parser.error('--seeds and --together must be at least 1')
  for word in extra:
    if word.lstrip('-').split('=')[0] in ('config', 'config.seed', 'config.seeds', 'workdir'):
      parser.error(f'{word} is set by the table; use --table and --seeds')
  return args, extra


def run_table(args: argparse.Namespace, extra: list[str]) -> int:
  """Runs or lists the missing runs of a table and returns the exit code."""
  table, together = TABLES[args.table], args.together or args.seeds
  jobs = plan(args.table, args.seeds, together, args.only, extra, args.runs, args.results)
  if args.list:
    list_jobs(args.table, jobs, args.results)
    return 0

  def again(job: Job, seed: int) -> Job:
    return make_job(table, job.row, (seed,), extra, args.runs)

  return run_jobs(args.table, jobs, args.budget, again, args.results)


def run(argv: list[str] | None = None) -> int:
  """Runs the command line and returns the exit code."""
  args, extra = parse(argv)
  logging.getLogger('fass_jax').setLevel(logging.WARNING)
  log.silence_libraries()
  code = 0
  try:
    if args.table:
      code = run_table(args, extra)
    if args.report:
      report.write(args.results, REPO / 'docs', REPO / 'README.md')
  except UserError as error:
    print(f'tables: {error}', file=sys.stderr)
    return 1
  except BrokenPipeError:  # `--list | head` closes the pipe; avoid Python's error message at exit
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  return code


if __name__ == '__main__':
  sys.exit(run())
