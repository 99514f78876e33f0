"""Checks image files: decodes each file once, in several threads, and stores the results."""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from fass_jax.data.images import decode
from fass_jax.types import UserError

log = logging.getLogger('fass_jax')

MEMORY = 'checked.json'
BROKEN = 'broken_files.txt'

X = TypeVar('X')
Y = TypeVar('Y')


def threads(workers: int) -> int:
  """Returns the number of decoding threads: `workers`, or one per core for 0."""
  if workers < 0:
    raise UserError(f'--config.data.workers={workers} is negative; 0 means one thread per core.')
  return workers or len(os.sched_getaffinity(0))


def in_threads(work: Callable[[X], Y], items: Iterable[X], workers: int) -> Iterator[Y]:
  """Yields `work(item)` per item, in order, with a limited number of items in flight."""
  with ThreadPoolExecutor(workers) as pool:
    waiting: collections.deque[Future[Y]] = collections.deque()
    try:
      for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= 4 * workers:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      pool.shutdown(wait=False, cancel_futures=True)


def progress(items: Iterable[X], total: int, what: str) -> Iterable[X]:
  """Returns the items with a progress bar if the output is a terminal."""
  return tqdm(items, what, total, leave=False, disable=None, unit=' images')


def fault(encoded: bytes) -> str:
  """Returns the reason why an encoded image is broken, or '' if it is intact."""
  try:
    decode.rgb(encoded)
  except decode.Broken as error:
    return str(error)
  return ''


def _look(path: str) -> str:
  try:
    with open(path, 'rb') as f:
      return fault(f.read())
  except PermissionError as error:
    raise UserError(
      f'The image {path} cannot be read (permission denied); make it readable for this user.'
    ) from error
  except OSError as error:  # a dangling link or a disk error
    return error.strerror or str(error)


def check_files(paths: Sequence[str], folder: pathlib.Path, workers: int) -> dict[str, str]:
  """Returns `{path: reason}` for the broken files.

  `folder` stores the results of earlier checks, if it is writable; a file is decoded again only if
  its size or modification time has changed. `broken_files.txt` in `folder` lists the broken files.

  Raises:
    UserError: if a file is not readable for this user.
  """
  known = _remembered(folder / MEMORY)
  marks = {path: _mark(path) for path in paths}
  new = [p for p in paths if p not in known or known[p][:2] != marks[p]]
  if new:
    log.info('Checking %d image files', len(new))
  saved = time.monotonic()
  try:
    looked = in_threads(lambda p: (p, _look(p)), new, threads(workers))
    for path, reason in progress(looked, len(new), 'checking'):
      known[path] = [*marks[path], reason]
      if time.monotonic() - saved > 60:  # save the results so far, in case the process is killed
        _remember(folder / MEMORY, known)
        saved = time.monotonic()
  finally:
    if new:
      _remember(folder / MEMORY, known)
  broken = {p: str(known[p][2]) for p in paths if known[p][2]}
  if new or broken:
    write_broken(folder / BROKEN, broken)
  return broken


def _mark(path: str) -> list[int]:
  try:
    found = os.stat(path)
  except OSError:
    return [-1, -1]
  return [found.st_size, found.st_mtime_ns]


def _remembered(path: pathlib.Path) -> dict[str, list]:
  try:
    known = json.loads(path.read_text())
    return {p: [int(size), int(time), str(why)] for p, (size, time, why) in known.items()}
  except (OSError, ValueError, AttributeError, TypeError):  # missing or damaged
    return {}


def _remember(path: pathlib.Path, known: Mapping[str, list]) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f'.{path.name}.{os.getpid()}')
    fresh.write_text(json.dumps(known))
    os.replace(fresh, path)
  except OSError as error:
    log.info('%s cannot be written (%s); the next run checks again', path, error.strerror)


def write_broken(path: pathlib.Path, broken: Mapping[str, str]) -> None:
  """Writes one line per broken image, or removes the list if there are none."""
  try:
    if broken:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(''.join(f'{name}\t{why}\n' for name, why in broken.items()))
    else:
      path.unlink(missing_ok=True)
  except OSError:
    pass  # the log lists the first ones anyway


def leave_out(broken: Mapping[str, str], total: int, most: float, where: pathlib.Path) -> None:
  """Logs which broken images are skipped.

  Args:
    broken: `{name: reason}`.
    total: number of all images.
    most: the largest allowed share of broken images.
    where: the file that lists all broken images.

  Raises:
    UserError: if a larger share is broken.
  """
  if not broken:
    return
  first = [f'{name} ({why})' for name, why in list(broken.items())[:10]]
  if len(broken) > most * total:
    raise UserError(
      f'{len(broken)} of {total} images are broken, which is more than '
      f'--config.data.max_broken={most:g} allows: {"; ".join(first[:3])}; all are listed in '
      f'{where}: fetch them again, remove them, or allow a larger share.'
    )
  log.info(
    '%d of %d images are broken and were skipped, listed in %s:\n  %s',
    len(broken),
    total,
    where,
    '\n  '.join(first),
  )


def memory_of(root: pathlib.Path, cache: pathlib.Path) -> pathlib.Path:
  """Returns the cache folder with the check results for the files in `root`."""
  key = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
  return cache / 'folder' / key
