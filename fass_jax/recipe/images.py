"""From stored pixels to what a network is shown: crops of squares, and the normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fass_jax.augment import chain
from fass_jax.augment.cam import ActivationMap
from fass_jax.augment.resized_crop import centre_crop, resized_crop
from fass_jax.types import Array, Dataset, Squares, UserError


class Normaliser(NamedTuple):
  """x -> (x / 255 - mean) / std on uint8 `[..., 3]`: float32, or float64 with x64."""

  mean: tuple[float, ...]  # of each channel, in [0, 1]
  std: tuple[float, ...]

  def __call__(self, images: Array) -> Array:
    """Returns the images as a network reads them."""
    # one multiply and one add; the constants are folded in double precision
    std = np.asarray(self.std, np.float64)
    scale = (1.0 / (255.0 * std)).astype(jnp.result_type(float))
    shift = (-np.asarray(self.mean, np.float64) / std).astype(jnp.result_type(float))
    shape = (1,) * (images.ndim - 1) + (3,)
    return jnp.asarray(images, float) * scale.reshape(shape) + shift.reshape(shape)


def normaliser(mean: Iterable[float], std: Iterable[float]) -> Normaliser:
  """Returns the normalisation by these numbers, one for each channel."""
  return Normaliser(tuple(map(float, mean)), tuple(map(float, std)))


def build_normaliser(config: ConfigDict, data: Dataset) -> Normaliser:
  """Returns the normalisation that a config asks for.

  Raises:
    UserError: for statistics of images that are not there as arrays.
  """
  if config.data.statistics != 'own':
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
  """Returns how a test image becomes what the network sees, as plain JSON values.

  `side` of the square, the share `centre` of the short side that it is cut from (1 where arrays
  are shown as they are), whether photos are turned `upright`, `mean` and `std`.

  Args:
    config: the whole config.
    data: as `load` returns it, before `store.keep` decodes it.
    normalise: of the run.
  """
  arrays = isinstance(data.test_images, np.ndarray)
  return {
    'side': data.image_shape[0],
    'centre': 1.0 if arrays else config.data.centre,
    'upright': arrays or bool(getattr(data.test_images, 'upright', False)),
    'mean': list(normalise.mean),
    'std': list(normalise.std),
  }


def build_show(config: ConfigDict, data: Dataset) -> Callable[..., Array]:
  """Returns `(images, aspect or None) -> images`: how a stored image is seen in evaluation."""
  if not isinstance(data.train_images, Squares):
    return lambda images, aspect: images
  middle = centre_crop(config.data.centre, data.side)
  return lambda images, aspect: images if aspect is None else middle(images, aspect)
