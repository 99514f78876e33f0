"""From stored pixels to what a network is shown: crops of squares, and the normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fass_jax.augment import chain
from fass_jax.augment.resized_crop import centre_crop, resized_crop
from fass_jax.config import one_of
from fass_jax.types import Array, Dataset, Squares, UserError


def normaliser(mean: Iterable[float], std: Iterable[float]) -> Callable[[Array], Array]:
  """Returns x -> (x / 255 - mean) / std on uint8 `[..., 3]`: float32, or float64 with x64."""
  # one multiply and one add; the constants are folded in double precision
  std64 = np.asarray(tuple(std), np.float64)
  scale = (1.0 / (255.0 * std64)).astype(jnp.result_type(float))
  shift = (-np.asarray(tuple(mean), np.float64) / std64).astype(jnp.result_type(float))

  def normalise(images: Array) -> Array:
    shape = (1,) * (images.ndim - 1) + (3,)
    return images.astype(float) * scale.reshape(shape) + shift.reshape(shape)

  return normalise


def build_normaliser(config: ConfigDict, data: Dataset) -> Callable[[Array], Array]:
  """Returns the normalisation that a config asks for.

  Raises:
    UserError: for statistics of images that are not there as arrays.
  """
  kind = one_of(config.data.statistics, ('fixed', 'own'), 'data.statistics')
  if kind == 'fixed':
    return normaliser(config.data.mean, config.data.std)
  images = data.train_images
  if isinstance(images, Squares):
    images = images.images
  if not isinstance(images, np.ndarray):
    raise UserError(
      '--config.data.statistics=own needs the images in memory; use --config.data.store=resident '
      'or give --config.data.mean and --config.data.std.'
    )
  pixels = images.reshape(-1, 3).astype(np.float64) / 255.0
  return normaliser(pixels.mean(0), pixels.std(0))


def build_chain(names: Sequence[str], config: ConfigDict, data: Dataset) -> Callable[..., Array]:
  """Returns the augmentation chain for images as they are stored.

  Arrays go through all ops. Squares are cut on the device, by 'resized_crop' or in the middle.
  Encoded images were cut when they were decoded.
  """
  d, images = config.data, data.train_images
  if isinstance(images, Squares):
    cut = resized_crop(tuple(d.crop_area), data.side)
    if 'resized_crop' in names:
      return chain.build(names, {'resized_crop': cut})
    rest, middle = chain.build(names), centre_crop(d.centre, data.side)
    return lambda key, x, numbers: rest(key, middle(x, numbers['resized_crop']), numbers)
  if not isinstance(images, np.ndarray):
    return chain.build([n for n in names if n != 'resized_crop'])
  return chain.build(names)


def build_show(config: ConfigDict, data: Dataset) -> Callable[..., Array]:
  """Returns `(images, aspect or None) -> images`: how a stored image is seen in evaluation."""
  if not isinstance(data.train_images, Squares):
    return lambda images, aspect: images
  middle = centre_crop(config.data.centre, data.side)
  return lambda images, aspect: images if aspect is None else middle(images, aspect)
