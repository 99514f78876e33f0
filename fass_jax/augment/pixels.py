"""Ops on pixel values, with the arithmetic of Pillow.

Images are uint8 `[B, H, W, 3]`, magnitudes float32 `[B]`; results are uint8 of the same shape as
the images. Sums use integers wherever Pillow's result is exact in integers.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array


def spread(value: Array) -> Array:
  """Reshapes `[B]` to `[B, 1, 1, 1]`."""
  return value[:, None, None, None]


def _rounded(product: Array) -> Array:
  """Forces a product to be rounded, which a compiler could skip by a fused multiply-add."""
  return jnp.minimum(product, 1e30)


def _lookup(table: Array, images: Array) -> Array:
  """Maps each value through a table `[B, 3, 256]` per image and channel."""
  batch, height, width, _ = images.shape
  rows = jnp.moveaxis(images.reshape(batch, height * width, 3), -1, 1).astype(jnp.int32)
  mapped = jnp.take_along_axis(table, rows, -1)
  return jnp.moveaxis(mapped, 1, -1).reshape(images.shape).astype(jnp.uint8)


# tables


def invert(images: Array) -> Array:
  """Returns 255 - x."""
  return 255 - images


def solarize(images: Array, threshold: Array) -> Array:
  """Inverts values from a threshold on: x if x < threshold else 255 - x.

  Args:
    images: uint8 `[B, H, W, 3]`.
    threshold: `[B]`; 256 inverts no value, 0 inverts all.
  """
  return jnp.where(images < spread(threshold), images, 255 - images)


def solarize_add(images: Array, amount: Array, threshold: float = 128) -> Array:
  """Adds an amount to the values, clips them to 0 .. 255, then solarizes.

  Args:
    images: uint8 `[B, H, W, 3]`.
    amount: `[B]`; the sum is truncated to a whole number.
    threshold: see `solarize`.
  """
  total = jnp.clip(images + spread(amount), 0, 255).astype(jnp.uint8)
  return jnp.where(total < threshold, total, 255 - total)


def posterize(images: Array, bits: Array) -> Array:
  """Sets all but the highest bits of each value to 0.

  Args:
    images: uint8 `[B, H, W, 3]`.
    bits: `[B]`, number of bits that remain; truncated to a whole number and clipped to 1 .. 8.
  """
  kept = jnp.clip(bits.astype(jnp.int32), 1, 8).astype(jnp.uint8)
  return images & spread(jnp.uint8(255) << (8 - kept))


@functools.cache
def _one_lower() -> np.ndarray:
  """Returns where Pillow's `autocontrast` is one below 255 (x - lo) / (hi - lo), by (lo, hi).

  Its float64 makes some whole quotients slightly too small. They are whole for
  x = lo + k (hi - lo) / g, k = 0 .. g, g = gcd(hi - lo, 255), and too small only where g <= 17.
  uint32 `[256, 256]`: bit k is set where the quotient of k is too small.
  """
  low, high, k = np.meshgrid(np.arange(256), np.arange(256), np.arange(18), indexing='ij')
  span = np.maximum(high - low, 1)
  share = np.gcd(span, 255)
  scale = 255.0 / span
  found = ((low + k * (span // share)) * scale - low * scale).astype(int)
  lower = (found < k * (255 // share)) & (k <= share) & (high > low)
  return (lower.astype(np.uint32) << k.astype(np.uint32)).sum(-1, dtype=np.uint32)


def autocontrast(images: Array) -> Array:
  """Stretches each channel to 0 .. 255: 255 (x - lo) / (hi - lo), truncated as Pillow does."""
  low = images.min((1, 2), keepdims=True).astype(jnp.int32)
  high = images.max((1, 2), keepdims=True).astype(jnp.int32)
  above, span = images - low, jnp.maximum(high - low, 1)
  share = jnp.asarray(np.gcd(np.arange(256, dtype=np.int32), 255))[span]
  place = above * share // span  # k; no bit is set above 17
  lower = jnp.asarray(_one_lower())[low, high] >> jnp.minimum(place, 31).astype(jnp.uint32) & 1
  lower = jnp.where(255 * above % span == 0, lower, 0).astype(jnp.int32)
  return jnp.where(high > low, 255 * above // span - lower, images).astype(jnp.uint8)


def equalize(images: Array) -> Array:
  """Equalizes each channel's histogram h: x -> (step // 2 + sum_(v<x) h_v) // step.

  step = (number of pixels below the channel's maximum) // 255; a channel with step 0 is unchanged.
  """
  batch, height, width, _ = images.shape
  n = height * width
  i, c = jnp.arange(batch)[:, None, None], jnp.arange(3)
  values = images.reshape(batch, n, 3).astype(jnp.int32)
  count = jnp.zeros((batch, 3, 256), jnp.int32).at[i, c[None, None], values].add(1)
  below = jnp.cumsum(count, -1) - count
  # Pillow excludes the last non-empty bin, i.e. the pixels with the maximum value
  step = jnp.take_along_axis(below, values.max(1)[..., None], -1) // 255
  table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
  return _lookup(jnp.where(step > 0, table, jnp.arange(256)[None, None]), images)


# blends with a degenerate image


def grey(images: Array) -> Array:
  """Returns the ITU-R 601 luma, uint8 `[B, H, W, 1]`, in Pillow's 16-bit fixed point."""
  x = images.astype(jnp.int32)
  luma = 19595 * x[..., 0] + 38470 * x[..., 1] + 7471 * x[..., 2] + 0x8000
  return (luma >> 16).astype(jnp.uint8)[..., None]


def blend(degenerate: Array, images: Array, factor: Array) -> Array:
  """Interpolates or extrapolates between two images: floor(clip(d + factor (x - d), 0, 255)).

  Args:
    degenerate: uint8, broadcasts to `images`: d, the result at factor 0.
    images: uint8 `[B, H, W, 3]`: x, the result at factor 1.
    factor: float32 `[B]`, at least 0.
  """
  start = degenerate.astype(jnp.float32)
  way = _rounded(spread(factor.astype(jnp.float32)) * (images.astype(jnp.float32) - start))
  return jnp.clip(start + way, 0, 255).astype(jnp.uint8)


def brightness(images: Array, factor: Array) -> Array:
  """Scales brightness by a blend with black; factor `[B]`: 0 black, 1 unchanged."""
  return blend(jnp.zeros((1, 1, 1, 1), jnp.uint8), images, factor)


def color(images: Array, factor: Array) -> Array:
  """Scales saturation by a blend with the grey image; factor `[B]`: 0 grey, 1 unchanged."""
  return blend(grey(images), images, factor)


def contrast(images: Array, factor: Array) -> Array:
  """Scales contrast by a blend with the mean grey value; factor `[B]`: 0 uniform, 1 unchanged."""
  n = images.shape[1] * images.shape[2]
  total = grey(images).astype(jnp.int32).sum((1, 2), keepdims=True)
  return blend((2 * total + n) // (2 * n), images, factor)


def sharpness(images: Array, factor: Array) -> Array:
  """Scales sharpness by a blend with the smoothed image; factor `[B]`: 0 smooth, 1 unchanged."""
  return blend(smooth(images), images, factor)


def _byte(share: Array) -> Array:
  """Returns floor(255 share) for the exact product; float32 may round it up to a whole number."""
  whole = jnp.floor(255 * share)
  # 256 share is exact in float32, and so is its difference to a nearby whole number
  return jnp.where(256 * share - whole < share, whole - 1, whole)


def hue(images: Array, turn: Array) -> Array:
  """Shifts the hue by a fraction of the hue circle, in Pillow's 8-bit HSV.

  Few values differ from Pillow's float64 result, by up to 6 (a difference of 1 in the hue byte).

  Args:
    images: uint8 `[B, H, W, 3]`.
    turn: float32 `[B]`, -0.5 .. 0.5.
  """
  r, g, b = jnp.moveaxis(images.astype(jnp.float32), -1, 0)
  high, low = images.max(-1).astype(jnp.float32), images.min(-1).astype(jnp.float32)
  span = jnp.maximum(high - low, 1)
  rc, gc, bc = (high - r) / span, (high - g) / span, (high - b) / span
  sixth = jnp.where(r == high, bc - gc, jnp.where(g == high, 2 + rc - bc, 4 + gc - rc)) / 6
  h = jnp.where(high == low, 0, _byte(jnp.where(sixth < 0, sixth + 1, sixth))).astype(jnp.int32)
  h = (h + jnp.trunc(turn * 255).astype(jnp.int32)[:, None, None]) & 255
  s = _byte((high - low) / jnp.maximum(high, 1)) / 255
  sector = (h * 6).astype(jnp.float32) / 255
  part = sector - jnp.floor(sector)
  # round half up, as C's round does for positive numbers
  p, q, t = (
    jnp.floor(high * (1 - _rounded(s * f)) + 0.5) for f in (jnp.ones_like(s), part, 1 - part)
  )
  rgb = [(high, t, p), (q, high, p), (p, high, t), (p, q, high), (t, p, high), (high, p, q)]
  which = jnp.floor(sector).astype(jnp.int32)[..., None] % 6
  out = jnp.select([which == k for k in range(6)], [jnp.stack(c, -1) for c in rgb])
  return out.astype(jnp.uint8)


# filters of 3 x 3


def _inside(images: Array, filtered: Array) -> Array:
  """Replaces the inner pixels by the filtered `[B, H-2, W-2, 3]`; the border is unchanged."""
  return images.at[:, 1:-1, 1:-1].set(jnp.clip(filtered, 0, 255).astype(jnp.uint8))


def _square(images: Array) -> tuple[Array, Array]:
  """Returns the inner pixels and their 3 x 3 sums, each int32 `[B, H-2, W-2, 3]`."""
  x = images.astype(jnp.int32)
  lines = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
  return x[:, 1:-1, 1:-1], lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:]


def smooth(images: Array) -> Array:
  """Returns (sum of the 8 neighbours + 5 centre) / 13, rounded half up; the border is unchanged."""
  centre, total = _square(images)
  return _inside(images, (2 * (total + 4 * centre) + 13) // 26)


def edge_enhance(images: Array) -> Array:
  """Returns (10 centre - sum of the 8 neighbours) / 2, rounded half up; the border is unchanged."""
  centre, total = _square(images)
  return _inside(images, (11 * centre - total + 1) // 2)


# products with Pillow's float32 weights; a table, because compilers fuse a product with a sum
_SIXTH = np.arange(256, dtype=np.float32) * (np.float32(-1) / np.float32(6))
_TEN_SIXTHS = np.arange(256, dtype=np.float32) * (np.float32(10) / np.float32(6))


def detail(images: Array) -> Array:
  """Returns (10 centre - sum of the 4 neighbours) / 6, rounded half up; the border is unchanged.

  Ties are frequent and depend on float32 rounding, so the additions follow Pillow's order.
  """
  x = images.astype(jnp.int32)
  side, centre = jnp.asarray(_SIXTH)[x], jnp.asarray(_TEN_SIXTHS)[x[:, 1:-1, 1:-1]]
  row = (side[:, 1:-1, :-2] + centre) + side[:, 1:-1, 2:]
  total = ((0.5 + side[:, 2:, 1:-1]) + row) + side[:, :-2, 1:-1]
  return _inside(images, jnp.floor(total))


# blur

MAX_RADIUS = 2.4  # pixels; from 2.45 on, a box would need more than five taps


def _box_weights(radius: Array) -> tuple[Array, Array, Array]:
  """Returns the box filter of one pass: whether its inner part is 3 pixels wide, and the weights.

  The weights of the inner pixels and of the two ends are uint32 `[B]`, in Pillow's 24-bit fixed
  point.
  """
  sigma2 = radius * radius / 3
  whole = jnp.floor((jnp.sqrt(12 * sigma2 + 1) - 1) / 2)
  part = (2 * whole + 1) * (whole * (whole + 1) - 3 * sigma2)
  size = 2 * (whole + part / (6 * (sigma2 - (whole + 1) ** 2))) + 1
  wide = size >= 3  # from the sum, as in Pillow, because rounding may reach the next whole radius
  width = jnp.where(wide, 3, 1).astype(jnp.uint32)
  # the minimum only matters on devices without correctly rounded division
  inner = jnp.minimum((2.0**24 / size).astype(jnp.uint32), (1 << 24) // width)
  ends = ((1 << 24) - width * inner) // 2
  return wide, inner, ends


def _box_pass(x: Array, wide: Array, inner: Array, ends: Array, axis: int) -> Array:
  """Applies a box filter to uint32 images along an axis; the border is padded with its pixels."""
  n = x.shape[axis]
  pad = [(2, 2) if a == axis else (0, 0) for a in range(x.ndim)]
  padded = jnp.pad(x, pad, 'edge')
  far, near, mid, near_, far_ = (
    jax.lax.slice_in_dim(padded, k, k + n, axis=axis) for k in range(5)
  )
  beside, beyond = near + near_, far + far_
  total = jnp.where(wide, mid + beside, mid) * inner + jnp.where(wide, beyond, beside) * ends
  return (total + jnp.uint32(1 << 23)) >> 24


def gaussian_blur(images: Array, radius: Array) -> Array:
  """Blurs by three extended box filters per axis, rounded to bytes after each.

  Args:
    images: uint8 `[B, H, W, 3]`.
    radius: float32 `[B]`, standard deviation in pixels, 0 (identity) .. 2.4.

  Reference: Gwosdek et al., Theoretical Foundations of Gaussian Convolution by Extended Box
  Filtering, SSVM 2011.
  """
  wide, inner, ends = map(spread, _box_weights(jnp.clip(radius, 0, MAX_RADIUS)))
  x = images.astype(jnp.uint32)
  for axis in (2, 2, 2, 1, 1, 1):
    x = _box_pass(x, wide, inner, ends, axis)
  return x.astype(jnp.uint8)
