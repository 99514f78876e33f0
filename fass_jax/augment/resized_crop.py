"""Crops of whole images that are kept as squares: the box is drawn as in the original image.

A square is an image whose longer side was squeezed. With `aspect`, width over height before, the
original's proportions are known, and a box of it is a box of the square. Boxes are float32
`[B, 4]`: left, top, width, height, in shares of the square's sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def random_boxes(
  key: Array, aspect: Array, area: tuple[float, float] = (0.08, 1.0), ratio: float = 4 / 3
) -> Array:
  """Draws the box of a random resized crop for each image, float32 `[B, 4]` in 0 .. 1.

  In the original, of width a and height 1: a share s of the area uniform over `area`, a ratio r of
  the sides log-uniform over 1/`ratio` .. `ratio`, w = sqrt(s a r), h = sqrt(s a / r), at a uniform
  place; of ten draws the first that fits, else the largest box in the middle with a ratio inside
  the bounds. The law of torchvision's RandomResizedCrop without its rounding to pixels.

  Args:
    key: a key.
    aspect: float32 `[B]`, width / height of the original, above 0.
    area: bounds of the share.
    ratio: the largest ratio, at least 1.

  Reference: Szegedy et al., CVPR 2015.
  """
  karea, kratio, kplace = jax.random.split(key, 3)
  a = aspect[:, None]
  share = jax.random.uniform(karea, (len(aspect), 10), minval=area[0], maxval=area[1])
  edge = math.log(ratio)
  r = jnp.exp(jax.random.uniform(kratio, share.shape, minval=-edge, maxval=edge))
  sizes = jnp.stack([jnp.sqrt(share * r / a), jnp.sqrt(share * a / r)], -1)  # [B, 10, 2]
  fits = (sizes <= 1).all(-1)
  first = jnp.take_along_axis(sizes, jnp.argmax(fits, 1)[:, None, None], 1)[:, 0]
  largest = jnp.minimum(jnp.stack([ratio / aspect, ratio * aspect], -1), 1)
  found = fits.any(1)[:, None]
  size = jnp.where(found, first, largest)
  place = jnp.where(found, jax.random.uniform(kplace, size.shape), 0.5) * (1 - size)
  return jnp.concatenate([place, size], -1)


def centre_boxes(aspect: Array, share: float) -> Array:
  """Returns the box of the square in the middle, its side a share of the short side, `[B, 4]`.

  Args:
    aspect: float32 `[B]`, width / height of the original.
    share: 0 .. 1.
  """
  size = share * jnp.minimum(jnp.stack([1 / aspect, aspect], -1), 1)
  return jnp.concatenate([(1 - size) / 2, size], -1)


def _weights(start: Array, size: Array, before: int, after: int) -> Array:
  """Returns the triangle filter along one side, float32 `[B, after, before]`, rows of sum 1.

  Output i reads around c = start + (i + 1/2) t, t = size / after pixels, with the weights
  max(0, 1 - |j + 1/2 - c| / max(t, 1)), of pixels outside the box too, as Pillow.

  Args:
    start: `[B]`, share of the side.
    size: `[B]`, share of the side.
    before: pixels of the image.
    after: pixels of the result.
  """
  step = (size * (before / after))[:, None]
  centre = (start * before)[:, None] + (jnp.arange(after) + 0.5)[None] * step
  distance = jnp.abs((jnp.arange(before) + 0.5)[None, None] - centre[..., None])
  weight = jnp.maximum(1 - distance / jnp.maximum(step, 1)[..., None], 0)
  return weight / weight.sum(-1, keepdims=True)


def scaled(images: Array, boxes: Array, side: int) -> Array:
  """Scales the box of each image to a square: bilinear, with antialiasing where it shrinks.

  Two products of matrices an image; one rounding, at the end (Pillow rounds between them too).

  Args:
    images: uint8 `[B, H, W, 3]`.
    boxes: float32 `[B, 4]`.
    side: pixels of the result.

  Returns:
    uint8 `[B, side, side, 3]`.
  """
  height, width = images.shape[1:3]
  left, top, wide, high = boxes.T
  full = jax.lax.Precision.HIGHEST
  columns, rows = _weights(left, wide, width, side), _weights(top, high, height, side)
  x = jnp.einsum('bow,bhwc->bhoc', columns, images.astype(jnp.float32), precision=full)
  x = jnp.einsum('boh,bhwc->bowc', rows, x, precision=full)
  return jnp.clip(jnp.floor(x + 0.5), 0, 255).astype(jnp.uint8)


def resized_crop(
  area: tuple[float, float] = (0.08, 1.0), side: int = 0
) -> Callable[[Array, Array, Array], Array]:
  """Returns `(key, images uint8 [B, H, W, 3], aspect [B]) -> uint8 [B, side, side, 3]`.

  Args:
    area: as of `random_boxes`.
    side: pixels of the result; 0 is the images' own height.
  """

  def op(key: Array, images: Array, aspect: Array) -> Array:
    return scaled(images, random_boxes(key, aspect, area), side or images.shape[1])

  return op


def centre_crop(share: float, side: int = 0) -> Callable[[Array, Array], Array]:
  """Returns `(images uint8 [B, H, W, 3], aspect [B]) -> uint8 [B, side, side, 3]`.

  Args:
    share: of the original's short side, 0 .. 1; 224 / 256 is the field's.
    side: as of `resized_crop`.
  """

  def view(images: Array, aspect: Array) -> Array:
    return scaled(images, centre_boxes(aspect, share), side or images.shape[1])

  return view
