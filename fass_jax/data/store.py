"""Decides where encoded images are stored: decoded on the device, or in their files."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from fass_jax.data.images import decode, streaming
from fass_jax.data.images.streaming import Reader
from fass_jax.types import Dataset, Squares, UserError

log = logging.getLogger(__name__)


def is_resident(config: ConfigDict, data: Dataset) -> bool:
  """Says whether a set is kept on the device: by `data.store`, or by its size as squares."""
  asked = config.data.store
  if isinstance(data.train_images, np.ndarray | Squares):
    return True
  train, test = len(data.train_labels) * config.data.square**2, len(data.test_labels) * data.side**2
  fits = 3 * (train + test) <= config.data.resident_gb * 1e9
  return asked == 'resident' or (asked == 'auto' and fits)


def _squares(reader: Reader, what: str) -> Squares:
  aspect = np.ones(len(reader.pictures), np.float32)

  def box(i: int) -> decode.Box:
    def whole(width: int, height: int) -> decode.Corners:
      aspect[i] = width / height
      return decode.whole(width, height)

    return whole

  images = streaming.load_all(reader, box, lambda work: _bar(work, what))
  return Squares(images, aspect)


def _bar(work: list, what: str) -> tqdm:
  return tqdm(work, desc=what, unit='group', disable=None, leave=False)


class Placed(NamedTuple):
  """A data set, and readers for images that are decoded on demand."""

  data: Dataset
  train: Reader | None = None
  test: Reader | None = None
  held: Reader | None = None  # held-out images
  unknown: Reader | None = None  # images of no class


def place(config: ConfigDict, data: Dataset) -> Placed:
  """Decodes all images now if they fit on the device, else returns readers.

  Args:
    config: the section `data`.
    data: a data set from `load`.

  Returns:
    A resident set has squares for training and centre crops for test and held-out images. Other
    sets are unchanged and have a reader per part.

  Raises:
    UserError: if a value is invalid or an image cannot be read.
  """
  d = config.data
  if not 0 < d.centre <= 1:
    raise UserError(f'--config.data.centre={d.centre} is not in (0, 1].')
  if not 0 < d.crop_area[0] <= d.crop_area[1] <= 1:
    raise UserError(
      f'--config.data.crop_area={d.crop_area} is not a range of shares in (0, 1]; give two '
      'numbers, the smaller one first.'
    )
  resident = is_resident(config, data)
  if isinstance(data.train_images, np.ndarray | Squares):
    return Placed(_with_decoded(config, data))
  assert not isinstance(data.test_images, np.ndarray)
  pool = streaming.threads(d.workers)
  test = streaming.open_reader(data.test_images, data.side, d.decoder, pool)
  if not resident:
    log.info('Images are decoded on demand by %d threads.', pool._max_workers)
    train = streaming.open_reader(data.train_images, data.side, d.decoder, pool)
    held = _reader(config, data.held_images, data.side, pool)
    unknown = _reader(config, data.open_images, data.side, pool)
    return Placed(data, train, test, held, unknown)
  if d.square < data.side:
    raise UserError(
      f'--config.data.square={d.square} is smaller than the input of the network, {data.side} '
      f'pixels; give {data.side} or more.'
    )
  train = streaming.open_reader(data.train_images, d.square, d.decoder, pool)
  middle = decode.centre(d.centre)
  held = _reader(config, data.held_images, data.side, pool)
  with pool:
    squares = _squares(train, 'training images')
    cut = streaming.load_all(test, lambda i: middle, lambda work: _bar(work, 'test images'))
    if held is not None:
      middles = streaming.load_all(
        held, lambda i: middle, lambda work: _bar(work, 'held-out images')
      )
      data = data._replace(held_images=middles)
  log.info('All images are stored on the device, %d pixels per side.', d.square)
  return Placed(_with_decoded(config, data._replace(train_images=squares, test_images=cut)))


def _reader(
  config: ConfigDict, images: object, side: int, pool: ThreadPoolExecutor
) -> Reader | None:
  """Returns a reader of encoded images, None if there are none."""
  if images is None:
    return None
  assert not isinstance(images, np.ndarray | Squares)
  return streaming.open_reader(images, side, config.data.decoder, pool)  # type: ignore[arg-type]


def _with_decoded(config: ConfigDict, data: Dataset) -> Dataset:
  """Returns a resident set with its open set decoded, if that is encoded."""
  if data.open_images is None or isinstance(data.open_images, np.ndarray):
    return data
  middle = decode.centre(config.data.centre if data.side else 1.0)
  with streaming.threads(config.data.workers) as pool:
    reader = streaming.open_reader(data.open_images, data.image_shape[0], config.data.decoder, pool)
    images = streaming.load_all(reader, lambda i: middle, lambda work: _bar(work, 'open set'))
  return data._replace(open_images=images)
