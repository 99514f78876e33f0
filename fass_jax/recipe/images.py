"""From stored images or rows to a network's input: crops of squares, and the normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fass_jax.augment import chain
from fass_jax.augment.cam import ActivationMap
from fass_jax.augment.resized_crop import centre_crop, resized_crop
from fass_jax.types import Array, Column, Dataset, Squares, UserError

PIXEL = 255.0  # the unit of a stored pixel


class Normaliser(NamedTuple):
  """x -> (x / unit - mean) / std: float32, or float64 with x64.

  x is uint8 `[..., 3]` with unit 255, or rows, float32 `[..., F]`, with unit 1.
  """

  mean: tuple[float, ...]  # of each channel in [0, 1], or of each number of a row
  std: tuple[float, ...]
  unit: float = PIXEL

  def __call__(self, images: Array) -> Array:
    """Returns the images or rows as a network reads them."""
    kind = jnp.result_type(float)
    std = np.asarray(self.std, np.float64)
    shape = (1,) * (images.ndim - 1) + (len(std),)
    x = jnp.asarray(images, float)
    if self.unit == 1.0:
      # subtract first: the mean of a column can be far larger than its spread
      return (x - np.asarray(self.mean, kind).reshape(shape)) / std.astype(kind).reshape(shape)
    # one multiply and one add; the constants are folded in double precision
    scale = (1.0 / (self.unit * std)).astype(kind)
    shift = (-np.asarray(self.mean, np.float64) / std).astype(kind)
    return x * scale.reshape(shape) + shift.reshape(shape)


def normaliser(mean: Iterable[float], std: Iterable[float], unit: float = PIXEL) -> Normaliser:
  """Returns the normalisation by these numbers, one per channel or per number of a row."""
  return Normaliser(tuple(map(float, mean)), tuple(map(float, std)), unit)


def normaliser_of(prepared: Mapping[str, Any]) -> Normaliser:
  """Returns the normalisation of a finished run, from what `preparation` returned."""
  # runs older than rows of numbers do not have a unit
  return normaliser(prepared['mean'], prepared['std'], prepared.get('unit', PIXEL))


def build_normaliser(config: ConfigDict, data: Dataset) -> Normaliser:
  """Returns the normalisation that a config asks for.

  Raises:
    UserError: for statistics of images that are not there as arrays, or of another length than the
      examples have.
  """
  d, unit, wide = config.data, 1.0 if data.is_rows else PIXEL, data.image_shape[-1]
  if d.statistics != 'own':
    if not len(d.mean) == len(d.std) == wide:
      raise UserError(
        f'--config.data.mean and std have {len(d.mean)} and {len(d.std)} numbers, but '
        f'{"a row" if data.is_rows else "a pixel"} of {data.name} has {wide}; give as many, or '
        '--config.data.statistics=own.'
      )
    return normaliser(d.mean, d.std, unit)
  images = data.train_images
  if isinstance(images, Squares):
    images = images.images
  if not isinstance(images, np.ndarray):
    raise UserError(
      '--config.data.statistics=own needs the images in memory; use --config.data.store=resident '
      'or give --config.data.mean and --config.data.std.'
    )
  if data.is_rows:
    return normaliser(*_row_statistics(images, data.columns), unit)
  pixels = images.reshape(-1, 3).astype(np.float64) / PIXEL
  return normaliser(pixels.mean(0), pixels.std(0))


def _row_statistics(rows: np.ndarray, columns: Sequence[Column]) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation per number of a row, float64 `[F]` each.

  They are 0 and 1 for the zeros and ones that stand for the words of a column. A number that is the
  same in all rows has standard deviation 1.
  """
  x = rows.astype(np.float64)
  mean, std = x.mean(0), x.std(0)
  # float32 resolves differences of 1e-7 of a value
  std = np.where(std > 1e-7 * np.abs(x).max(0), std, 1.0)
  coded = [bool(c.words) for c in columns for _ in c.words or ('',)]
  on = np.array(coded) if columns else np.zeros(len(mean), bool)
  return np.where(on, 0.0, mean), np.where(on, 1.0, std)


def build_chain(
  names: Sequence[str],
  config: ConfigDict,
  data: Dataset,
  activation_map: ActivationMap | None = None,
) -> Callable[..., Array]:
  """Returns the augmentation chain for images as they are stored.

  Arrays go through all ops. Squares are cut on the device, at random or in the middle. Encoded
  images were cut when they were decoded. `activation_map` is for ops that ask a trained network.
  """
  d, images, made = config.data, data.train_images, chain.made_for(activation_map)
  if isinstance(images, Squares):
    if chain.cuts(names):
      cut = resized_crop(tuple(d.crop_area), data.side)
      return chain.build(names, chain.made_for(activation_map, cut))
    rest, middle = chain.build(names, made), centre_crop(d.centre, data.side)
    return lambda key, x, numbers: rest(key, middle(x, chain.aspect_of(numbers)), numbers)
  if not isinstance(images, np.ndarray):
    return chain.build(chain.whole(names), made)
  return chain.build(names, made)


def preparation(config: ConfigDict, data: Dataset, normalise: Normaliser) -> dict[str, Any]:
  """Returns how a test image or row becomes what the network sees, as plain JSON values.

  `side` of the square, the share `centre` of the short side that it is cut from (1 where arrays
  are shown as they are), whether photos are turned `upright`; `mean`, `std` and `unit` of the
  normaliser; `columns` of the table, as `[name, words]`, if rows come from one. Rows have side 0.

  Args:
    config: the whole config.
    data: as `load` returns it, before `store.keep` decodes it.
    normalise: of the run.
  """
  arrays = isinstance(data.test_images, np.ndarray)
  return {
    'side': 0 if data.is_rows else data.image_shape[0],
    'centre': 1.0 if arrays else config.data.centre,
    'upright': arrays or bool(getattr(data.test_images, 'upright', False)),
    'mean': list(normalise.mean),
    'std': list(normalise.std),
    'unit': normalise.unit,
    'columns': [[c.name, list(c.words)] for c in data.columns],
  }


def build_show(config: ConfigDict, data: Dataset) -> Callable[..., Array]:
  """Returns `(images, aspect or None) -> images`: how a stored image is seen in evaluation."""
  if not isinstance(data.train_images, Squares):
    return lambda images, aspect: images
  middle = centre_crop(config.data.centre, data.side)
  return lambda images, aspect: images if aspect is None else middle(images, aspect)
