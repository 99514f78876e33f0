"""What of a table is still to be run, in which order, and how long it will take."""

from __future__ import annotations

import fnmatch
import hashlib
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

import jax
from ml_collections import ConfigDict

from fass_jax.command import config_file
from fass_jax.workdir import files
from launch.ledger import ledger as book


class Job(NamedTuple):
  """Some seeds of a row, run in one process."""

  row: Any
  run: book.Run
  seeds: tuple[int, ...]
  words: tuple[str, ...]  # the command line, without seeds
  folder: pathlib.Path  # its work directory


def name_of(job: Job) -> str:
  """Returns a job as a person reads it."""
  sets = ''.join(f' {k}={v}' for k, v in job.run.overrides.items())
  first, last = job.seeds[0], job.seeds[-1]
  seeds = f'seed {first}' if first == last else f'seeds {first} to {last}'
  return f'{job.row.label} ({job.row.method}{sets}), {seeds}'


def make_job(
  table: dict[str, Any], row: Any, seeds: Sequence[int], extra: Sequence[str], runs: pathlib.Path
) -> Job:
  """Names some seeds of a row as a job."""
  words = (*book.arguments(table, row), *extra)
  run = book.resolve(words)
  digest = hashlib.sha256(run.key.encode()).hexdigest()[:10]
  tail = f'seed{seeds[0]}' if len(seeds) == 1 else f'seeds{seeds[0]}-{seeds[-1]}'
  folder = runs / f'{run.config.name}-{run.config.method}-{digest}-{tail}'
  return Job(row, run, tuple(seeds), words, folder)


def config_of(job: Job) -> ConfigDict:
  """Returns the config of a job, with its seeds."""
  seeds = [f'--config.seed={job.seeds[0]}', f'--config.seeds={len(job.seeds)}']
  return config_file.load_config([*job.words, *seeds])[0]


def groups(missing: Sequence[int], begun: Sequence[range]) -> list[tuple[int, ...]]:
  """Cuts missing seeds into runs of neighbours; groups that were begun stay as they are."""
  left, found = set(missing), []
  for group in sorted(begun, key=len, reverse=True):
    if left.issuperset(group):
      found.append(tuple(group))
      left -= set(group)
  open_group: list[int] = []
  for seed in sorted(left):
    if open_group and seed != open_group[-1] + 1:
      found.append(tuple(open_group))
      open_group = []
    open_group.append(seed)
  return sorted([*found, tuple(open_group)] if open_group else found)


def begun_before(job: Job) -> list[range]:
  """Returns the groups of seeds of this run that have a work directory."""
  stem = job.folder.name.rpartition('-seed')[0]
  pattern = re.compile(re.escape(stem) + r'-seeds?(\d+)(?:-(\d+))?')
  names = (pattern.fullmatch(p.parent.name) for p in job.folder.parent.glob('*/config.json'))
  return [range(int(m[1]), int(m[2] or m[1]) + 1) for m in names if m]


def plan(
  name: str, seeds: int, together: int, only: str, extra: Sequence[str], runs: pathlib.Path,
  results: pathlib.Path,
) -> list[Job]:  # fmt: skip
  """Returns what is not in a ledger yet, in the order in which it should run."""
  table = book.TABLES[name]
  known = {k: set(v) for k, v in book.by_run(book.everything(results)).items()}
  jobs = []
  for first in range(0, seeds, together):
    wanted = range(first, min(first + together, seeds))
    for row in sorted(book.rows(table), key=lambda r: r.rank):
      if not fnmatch.fnmatch(row.method, only):
        continue
      job = make_job(table, row, wanted, extra, runs)
      done = known.setdefault(job.run.key, set())
      for group in groups([s for s in wanted if s not in done], begun_before(job)):
        jobs.append(make_job(table, row, group, extra, runs))
      done |= set(wanted)
  return jobs


def expected(job: Job, lines: Sequence[dict[str, Any]]) -> float | None:
  """Returns the seconds that a job needs, from the same run or the last like it, if any."""
  config = job.run.config
  kind = (jax.devices()[0].device_kind, config.name, config.epochs)
  like = [r for r in lines if (r['device'], r['config'], r['epochs']) == kind]
  same = [r for r in like if book.line_key(r) == job.run.key] or like
  if not same:
    return None
  log = job.folder / f'seed{job.seeds[0]}' if len(job.seeds) > 1 else job.folder
  done = len(files.read_metrics(log)) / config.epochs
  return same[-1]['wall_s'] * len(job.seeds) * (1 - done)


def duration(seconds_: float) -> str:
  """Formats seconds: '45 s', '12 min', '3.5 h'."""
  for unit, size, digits in (('s', 1, 0), ('min', 60, 0), ('h', 3600, 1)):
    text = f'{seconds_ / size:.{digits}f} {unit}'
    if seconds_ < 90 * size:
      break
  return text


def list_jobs(name: str, jobs: Sequence[Job], results: pathlib.Path) -> None:
  """Prints what would run, in order, with the time that each is expected to take."""
  lines, total, unknown = book.everything(results, name), 0.0, 0
  for job in jobs:
    need = expected(job, lines)
    total, unknown = total + (need or 0.0), unknown + (need is None)
    print(f'{name_of(job)}: {"time unknown" if need is None else "about " + duration(need)}')
  runs = sum(len(job.seeds) for job in jobs)
  print(f'{runs} runs, about {duration(total)}, and {unknown} of unknown time.')
