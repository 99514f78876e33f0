"""Prefetching: starts jobs before their results are requested."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')


AHEAD = 2  # batches that are decoded in advance


def ahead(jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
  """Yields the results of the jobs in order, and starts each job `AHEAD` iterations early."""
  waiting: collections.deque[T] = collections.deque()
  for job in jobs:
    waiting.append(job())
    if len(waiting) > AHEAD:
      yield waiting.popleft()
  yield from waiting
