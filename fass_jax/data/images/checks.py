"""Whether files are whole images: each is decoded once, by several threads, and remembered."""

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
  """Returns the number of threads that decode: `workers`, or one a core if it is 0."""
  if workers < 0:
    raise UserError(f'--config.data.workers={workers} is negative; 0 takes a thread for each core.')
  return workers or len(os.sched_getaffinity(0))


def in_threads(work: Callable[[X], Y], items: Iterable[X], workers: int) -> Iterator[Y]:
  """Yields `work(item)` for each item, in their order, with a few items in flight."""
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
  """Returns the items with a bar in a terminal, without one in a file."""
  return tqdm(items, what, total, leave=False, disable=None, unit=' images')


def fault(encoded: bytes) -> str:
  """Returns what is wrong with an encoded image, '' if it is whole."""
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
  except OSError as error:  # a link to nowhere, a bad disk
    return error.strerror or str(error)


def check_files(paths: Sequence[str], folder: pathlib.Path, workers: int) -> dict[str, str]:
  """Returns `{path: what is wrong}` of those that are no whole images.

  A file is decoded again only if its size or time of change differ from those remembered in
  `folder`; a folder that cannot be written remembers nothing. `broken_files.txt` in it lists the
  broken ones.

  Raises:
    UserError: a file may not be read.
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
      if time.monotonic() - saved > 60:  # a process that is killed has not looked in vain
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
  except (OSError, ValueError, AttributeError, TypeError):  # none yet, or a damaged one
    return {}


def _remember(path: pathlib.Path, known: Mapping[str, list]) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f'.{path.name}.{os.getpid()}')
    fresh.write_text(json.dumps(known))
    os.replace(fresh, path)
  except OSError as error:
    log.info('%s cannot be written (%s): the next start checks again', path, error.strerror)


def write_broken(path: pathlib.Path, broken: Mapping[str, str]) -> None:
  """Writes a line for each broken image, or removes the list if there is none."""
  try:
    if broken:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(''.join(f'{name}\t{why}\n' for name, why in broken.items()))
    else:
      path.unlink(missing_ok=True)
  except OSError:
    pass  # the log names the first ones


def leave_out(broken: Mapping[str, str], total: int, most: float, where: pathlib.Path) -> None:
  """Says which images are left out.

  Args:
    broken: `{name: what is wrong}`.
    total: all images.
    most: the share that may be broken.
    where: the file that lists all of them.

  Raises:
    UserError: more than that share are.
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
    '%d of %d images are broken and left out, listed in %s:\n  %s',
    len(broken),
    total,
    where,
    '\n  '.join(first),
  )


def memory_of(root: pathlib.Path, cache: pathlib.Path) -> pathlib.Path:
  """Returns the folder in the cache where what is known of the files in `root` is kept."""
  key = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
  return cache / 'folder' / key
