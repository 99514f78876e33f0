"""Random and centre crops of images that are stored as squares.

A square is a whole image resized without regard to its aspect ratio. `aspect` is the original
width / height, so that a box can be drawn in the original's proportions and then applied to the
square. Boxes are float32 `[B, 4]`: left, top, width, height, as fractions of the square's sides.
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
  """Draws the box of a random resized crop per image, float32 `[B, 4]` in 0 .. 1.

  In the original, with width a and height 1, the box has w = sqrt(s a r) and h = sqrt(s a / r). The
  share s of the area is uniform over `area`, the aspect ratio r log-uniform over 1/`ratio` ..
  `ratio`, the position uniform. The result is the first of ten draws that fits, or else the largest
  centred box with an aspect ratio in the bounds. This is the distribution of torchvision's
  RandomResizedCrop without rounding to pixels.

  Args:
    key: a PRNG key.
    aspect: float32 `[B]`, a, width / height of the original, above 0.
    area: bounds of s.
    ratio: the largest r, at least 1.

  Reference: Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842.
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
  """Returns the box of the centre crop, float32 `[B, 4]`.

  Args:
    aspect: float32 `[B]`, width / height of the original.
    share: side of the crop as a fraction of the original's short side, 0 .. 1.
  """
  size = share * jnp.minimum(jnp.stack([1 / aspect, aspect], -1), 1)
  return jnp.concatenate([(1 - size) / 2, size], -1)


def _weights(start: Array, size: Array, before: int, after: int) -> Array:
  """Returns the triangle filter along one side, float32 `[B, after, before]`, with row sums of 1.

  Output i has the centre c = start + (i + 1/2) t with t = size / after, and input j has the weight
  max(0, 1 - |j + 1/2 - c| / max(t, 1)), in pixels. As in Pillow, inputs outside of the box
  contribute too.

  Args:
    start: `[B]`, start of the box as a fraction of the side.
    size: `[B]`, size of the box as a fraction of the side.
    before: input pixels.
    after: output pixels.
  """
  step = (size * (before / after))[:, None]
  centre = (start * before)[:, None] + (jnp.arange(after) + 0.5)[None] * step
  distance = jnp.abs((jnp.arange(before) + 0.5)[None, None] - centre[..., None])
  weight = jnp.maximum(1 - distance / jnp.maximum(step, 1)[..., None], 0)
  return weight / weight.sum(-1, keepdims=True)


def scaled(images: Array, boxes: Array, side: int) -> Array:
  """Resizes the box of each image to a square: bilinear, with antialiasing for reduction.

  Two matrix products per image, with one rounding at the end (Pillow also rounds in between).

  Args:
    images: uint8 `[B, H, W, 3]`.
    boxes: float32 `[B, 4]`.
    side: output pixels per side.

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
    area: see `random_boxes`.
    side: output pixels per side; 0 means the height of the images.
  """

  def op(key: Array, images: Array, aspect: Array) -> Array:
    return scaled(images, random_boxes(key, aspect, area), side or images.shape[1])

  return op


def centre_crop(share: float, side: int = 0) -> Callable[[Array, Array], Array]:
  """Returns `(images uint8 [B, H, W, 3], aspect [B]) -> uint8 [B, side, side, 3]`.

  Args:
    share: side of the crop as a fraction of the original's short side, 0 .. 1; usually 224 / 256.
    side: output pixels per side; 0 means the height of the images.
  """

  def view(images: Array, aspect: Array) -> Array:
    return scaled(images, centre_boxes(aspect, share), side or images.shape[1])

  return view
