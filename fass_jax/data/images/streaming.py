"""Images decoded when they are needed, by threads that work ahead of the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from fass_jax.data.images.decode import Box, Broken
from fass_jax.data.images.decode import decoder as decoder_of
from fass_jax.types import Pictures, UserError

GROUP = 4  # images that a thread takes at a time


class Reader(NamedTuple):
  """Encoded images, and the threads that decode them to squares of one side."""

  pictures: Pictures
  side: int
  decode: Callable[[bytes, Box, int], np.ndarray]
  pool: ThreadPoolExecutor


class Pending(NamedTuple):
  """A batch that threads are working on."""

  out: np.ndarray  # uint8 [n, side, side, 3]; rows that nobody asked for are not set
  work: Sequence[Future]

  def done(self) -> bool:
    """Says whether `finish` would return at once."""
    return all(w.done() for w in self.work)


def threads(workers: int) -> ThreadPoolExecutor:
  """Returns a pool of so many threads, one a core if 0; Pillow decodes without Python's lock.

  Raises:
    UserError: for a number below 0.
  """
  if workers < 0:
    raise UserError(f'--config.data.workers={workers} is negative; 0 is one thread a core.')
  return ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), 'decode')


def open_reader(pictures: Pictures, side: int, decoder: str, pool: ThreadPoolExecutor) -> Reader:
  """Returns a reader; `decoder` is a key of `decode.DECODERS`."""
  return Reader(pictures, side, decoder_of(decoder, pictures), pool)


def begin(
  reader: Reader, index: np.ndarray, box: Callable[[int], Box], rows: np.ndarray, n: int
) -> Pending:
  """Starts to load a batch.

  Args:
    reader: where from.
    index: positions `[m]`.
    box: from a row of `index` to the box that is cut.
    rows: those of `index` that are wanted here; other processes load the others.
    n: rows of the batch, m or more; what lies beyond m is black.
  """
  out = np.empty((n, reader.side, reader.side, 3), np.uint8)
  out[len(index) :] = 0

  def work(group: np.ndarray) -> None:
    for row in group.tolist():
      place = int(index[row])
      try:
        out[row] = reader.decode(reader.pictures[place], box(row), reader.side)
      except (Broken, OSError) as error:
        raise UserError(
          f'The image {reader.pictures.name(place)} cannot be read ({error}); mend it or remove it '
          'and start again with a new --workdir.'
        ) from error

  rows = rows[rows < len(index)]
  groups = [rows[i : i + GROUP] for i in range(0, len(rows), GROUP)]
  return Pending(out, [reader.pool.submit(work, g) for g in groups])


def finish(pending: Pending) -> np.ndarray:
  """Waits for a batch; returns it.

  Raises:
    UserError: for an image that cannot be read.
  """
  for w in pending.work:
    w.result()
  return pending.out


def load_all(reader: Reader, box: Callable[[int], Box], show: Callable[[Any], Any]) -> np.ndarray:
  """Loads all images at once: uint8 `[N, side, side, 3]`.

  Args:
    reader: where from.
    box: from a position to the box that is cut.
    show: a progress bar around an iterable.
  """
  n = len(reader.pictures)
  pending = begin(reader, np.arange(n), box, np.arange(n), n)
  for w in show(pending.work):
    w.result()
  return pending.out
