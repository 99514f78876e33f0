"""Work that is begun before it is asked for."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')


AHEAD = 2  # batches that are decoded beyond the one that the device is to get


def ahead(jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
  """Starts each job `AHEAD` turns before it is handed out."""
  waiting: collections.deque[T] = collections.deque()
  for job in jobs:
    waiting.append(job())
    if len(waiting) > AHEAD:
      yield waiting.popleft()
  yield from waiting
