"""Geometric ops as in Pillow: nearest neighbour, black outside of the image.

Images are uint8 `[B, H, W, 3]`, magnitudes float32 `[B]`. Lengths are in pixels, so callers
multiply fractions by the side.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.augment.crop_flip import shift
from fass_jax.augment.resample import resample, table
from fass_jax.types import Array

MAX_ENLARGE = 1.5  # the largest scale of `resize_crop`


def flip(images: Array) -> Array:
  """Flips images vertically."""
  return images[:, ::-1]


def mirror(images: Array) -> Array:
  """Flips images horizontally."""
  return images[:, :, ::-1]


def _fixed(value: Array) -> Array:
  """Rounds to Pillow's fixed-point format with 16 fractional bits."""
  return jnp.floor(value * 65536 + 0.5).astype(jnp.int32)


def affine(images: Array, matrix: tuple[Array, ...]) -> Array:
  """Returns out[y, x] = in[floor(d u + e v + f), floor(a u + b v + c)], u = x + .5, v = y + .5.

  Args:
    images: uint8 `[B, H, W, 3]`, sides below 2^15.
    matrix: a, b, c, d, e, f, each float32 `[B]`.
  """
  height, width = images.shape[1:3]
  a, b, c, d, e, f = matrix

  def one(image: Array, x_from: Array, y_from: Array) -> Array:
    """x_from, y_from: int32 `[3]`: change per column, change per row, value at the first pixel."""
    v, u = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    x = (x_from[0] * u + x_from[1] * v + x_from[2]) >> 16
    y = (y_from[0] * u + y_from[1] * v + y_from[2]) >> 16
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    read = image[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)]
    return jnp.where(inside[..., None], read, 0).astype(image.dtype)

  x_from = jnp.stack([_fixed(a), _fixed(b), _fixed(c + 0.5 * (a + b))], -1)
  y_from = jnp.stack([_fixed(d), _fixed(e), _fixed(f + 0.5 * (d + e))], -1)
  return jax.vmap(one)(images, x_from, y_from)


def shear_x(images: Array, slope: Array) -> Array:
  """Shears images horizontally: x <- x + slope y, with slope `[B]` and row 0 fixed."""
  one, zero = jnp.ones_like(slope), jnp.zeros_like(slope)
  return affine(images, (one, slope, zero, zero, one, zero))


def shear_y(images: Array, slope: Array) -> Array:
  """Shears images vertically: y <- y + slope x, with slope `[B]` and column 0 fixed."""
  one, zero = jnp.ones_like(slope), jnp.zeros_like(slope)
  return affine(images, (one, zero, zero, slope, one, zero))


def _whole(pixels: Array) -> Array:
  """Rounds half up, as floor(x + .5 + pixels) does at a pixel's centre."""
  return jnp.floor(pixels + 0.5).astype(jnp.int32)


def translate_x(images: Array, pixels: Array) -> Array:
  """Shifts images left: x <- x + pixels, with pixels `[B]` rounded half up."""
  by = _whole(pixels)
  return shift(images, jnp.zeros_like(by), by)


def translate_y(images: Array, pixels: Array) -> Array:
  """Shifts images up: y <- y + pixels, with pixels `[B]` rounded half up."""
  by = _whole(pixels)
  return shift(images, by, jnp.zeros_like(by))


def rotate(images: Array, degrees: Array) -> Array:
  """Rotates images counter-clockwise about their centre by degrees `[B]`.

  The matrix is float32, Pillow's is float64; therefore below 0.1 % of the pixels, those on the
  boundary of two source pixels, differ from Pillow's.
  """
  height, width = images.shape[1:3]
  angle = jnp.deg2rad(degrees)
  # 1 - cos without cancellation
  cos1, sin = 2 * jnp.sin(angle / 2) ** 2, jnp.sin(angle)
  x, y = width / 2, height / 2
  c, f = x * cos1 + y * sin, y * cos1 - x * sin
  return affine(images, (1 - cos1, -sin, c, sin, 1 - cos1, f))


def resize_crop(images: Array, scale: Array) -> Array:
  """Enlarges images to floor(side * scale) with the Lanczos filter and crops the centre.

  CUDA's code requests this filter by Pillow's old name ANTIALIAS.

  Args:
    images: uint8 `[B, H, W, 3]`.
    scale: `[B]`, 1 .. 1.5.
  """

  def enlarge(side: int) -> tuple[Array, Array]:
    pairs = tuple((side, large) for large in range(side, int(side * MAX_ENLARGE) + 1))
    which = jnp.clip((side * scale).astype(jnp.int32) - side, 0, len(pairs) - 1)
    start, weight = table(pairs, 'lanczos', side)
    return jnp.asarray(start)[which], jnp.asarray(weight)[which]

  return resample(images, enlarge(images.shape[1]), enlarge(images.shape[2]))
