"""Decodes images on demand, in threads that work ahead of the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from fass_jax.data.images.decode import Box, Broken
from fass_jax.data.images.decode import decoder as decoder_of
from fass_jax.types import Pictures, UserError

GROUP = 4  # images per task of a thread


class Reader(NamedTuple):
  """Encoded images, and the threads that decode them to squares."""

  pictures: Pictures
  side: int
  decode: Callable[[bytes, Box, int], np.ndarray]
  pool: ThreadPoolExecutor


class Pending(NamedTuple):
  """A batch that is being decoded."""

  out: np.ndarray  # uint8 [n, side, side, 3]; rows that were not requested are undefined
  work: Sequence[Future]

  def done(self) -> bool:
    """Returns True if `finish` would not wait."""
    return all(w.done() for w in self.work)


def threads(workers: int) -> ThreadPoolExecutor:
  """Returns a pool of `workers` threads, one per core for 0; Pillow releases the GIL to decode.

  Raises:
    UserError: if `workers` is negative.
  """
  if workers < 0:
    raise UserError(f'--config.data.workers={workers} is negative; 0 means one thread per core.')
  return ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), 'decode')


def open_reader(pictures: Pictures, side: int, decoder: str, pool: ThreadPoolExecutor) -> Reader:
  """Returns a reader; `decoder` is a key of `decode.DECODERS`."""
  return Reader(pictures, side, decoder_of(decoder, pictures), pool)


def begin(
  reader: Reader, index: np.ndarray, box: Callable[[int], Box], rows: np.ndarray, n: int
) -> Pending:
  """Starts to load a batch.

  Args:
    reader: the images.
    index: `[m]`, positions of the images.
    box: row of `index` -> box of the crop.
    rows: the rows of `index` that this process loads; other processes load the others.
    n: rows of the batch, >= m; rows from m on are black.
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
          f'The image {reader.pictures.name(place)} cannot be read ({error}); replace or remove '
          'it, and start again with a new --workdir.'
        ) from error

  rows = rows[rows < len(index)]
  groups = [rows[i : i + GROUP] for i in range(0, len(rows), GROUP)]
  return Pending(out, [reader.pool.submit(work, g) for g in groups])


def finish(pending: Pending) -> np.ndarray:
  """Waits for a batch and returns it, uint8 `[n, side, side, 3]`.

  Raises:
    UserError: if an image cannot be read.
  """
  for w in pending.work:
    w.result()
  return pending.out


def load_all(reader: Reader, box: Callable[[int], Box], show: Callable[[Any], Any]) -> np.ndarray:
  """Returns all images, uint8 `[N, side, side, 3]`.

  Args:
    reader: the images.
    box: position -> box of the crop.
    show: wraps an iterable in a progress bar.
  """
  n = len(reader.pictures)
  pending = begin(reader, np.arange(n), box, np.arange(n), n)
  for w in show(pending.work):
    w.result()
  return pending.out
