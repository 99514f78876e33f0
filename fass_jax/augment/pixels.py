"""Ops on the values of pixels, with the arithmetic of Pillow.

Images are uint8 `[B, H, W, 3]`, a magnitude is float32 `[B]`, one number per image; the result
is uint8 of the same shape. Sums are integers wherever Pillow's own are exact in integers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array


def spread(value: Array) -> Array:
  """Shapes `[B]` as `[B, 1, 1, 1]`."""
  return value[:, None, None, None]


def _rounded(product: Array) -> Array:
  """Keeps a product of its own rounding: without it compilers fuse it into the next sum."""
  return jnp.minimum(product, 1e30)


def _lookup(table: Array, images: Array) -> Array:
  """Maps each value through its image's and channel's table `[B, 3, 256]`."""
  batch, height, width, _ = images.shape
  rows = jnp.moveaxis(images.reshape(batch, height * width, 3), -1, 1).astype(jnp.int32)
  mapped = jnp.take_along_axis(table, rows, -1)
  return jnp.moveaxis(mapped, 1, -1).reshape(images.shape).astype(jnp.uint8)


# tables


def invert(images: Array) -> Array:
  """Turns values around: 255 - x."""
  return 255 - images


def solarize(images: Array, threshold: Array) -> Array:
  """Inverts the values from a threshold on: x if x < threshold else 255 - x.

  Args:
    images: uint8 `[B, H, W, 3]`.
    threshold: `[B]`, 256 changes nothing, 0 inverts all.
  """
  return jnp.where(images < spread(threshold), images, 255 - images)


def solarize_add(images: Array, amount: Array, threshold: float = 128) -> Array:
  """Adds, clips to a byte, then solarizes.

  Args:
    images: uint8 `[B, H, W, 3]`.
    amount: `[B]`, the fraction of the sum is dropped.
    threshold: as of `solarize`.
  """
  total = jnp.clip(images + spread(amount), 0, 255).astype(jnp.uint8)
  return jnp.where(total < threshold, total, 255 - total)


def posterize(images: Array, bits: Array) -> Array:
  """Keeps the highest bits of each value.

  Args:
    images: uint8 `[B, H, W, 3]`.
    bits: `[B]`, the integer part is taken and brought into 1 .. 8.
  """
  kept = jnp.clip(bits.astype(jnp.int32), 1, 8).astype(jnp.uint8)
  return images & spread(jnp.uint8(255) << (8 - kept))


def autocontrast(images: Array) -> Array:
  """Stretches each channel to 0 .. 255: floor(255 (x - lo) / (hi - lo)).

  Pillow takes the floor of a float64 that falls short of some whole quotients, hi's 255 among
  them; there it is one lower.
  """
  low = images.min((1, 2), keepdims=True).astype(jnp.int32)
  span = images.max((1, 2), keepdims=True).astype(jnp.int32) - low
  stretched = 255 * (images - low) // jnp.maximum(span, 1)
  return jnp.where(span > 0, stretched, images).astype(jnp.uint8)


def equalize(images: Array) -> Array:
  """Flattens each channel's histogram h: x -> (step // 2 + sum_(v<x) h_v) // step.

  step = (pixels - those of the highest value) // 255; a channel with step 0 stays as it is.
  """
  batch, height, width, _ = images.shape
  n = height * width
  i, c = jnp.arange(batch)[:, None, None], jnp.arange(3)
  values = images.reshape(batch, n, 3).astype(jnp.int32)
  count = jnp.zeros((batch, 3, 256), jnp.int32).at[i, c[None, None], values].add(1)
  below = jnp.cumsum(count, -1) - count
  # those below the highest value are what Pillow counts without its last bin
  step = jnp.take_along_axis(below, values.max(1)[..., None], -1) // 255
  table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
  return _lookup(jnp.where(step > 0, table, jnp.arange(256)[None, None]), images)


# blends with a degenerate image


def grey(images: Array) -> Array:
  """Returns the luma of ITU-R 601, uint8 `[B, H, W, 1]`, in Pillow's 16-bit fixed point."""
  x = images.astype(jnp.int32)
  luma = 19595 * x[..., 0] + 38470 * x[..., 1] + 7471 * x[..., 2] + 0x8000
  return (luma >> 16).astype(jnp.uint8)[..., None]


def blend(degenerate: Array, images: Array, factor: Array) -> Array:
  """Goes from one image through another: floor(clip(d + factor (x - d), 0, 255)).

  Args:
    degenerate: uint8, broadcasts to `images`; the result at factor 0.
    images: uint8 `[B, H, W, 3]`; the result at factor 1.
    factor: float32 `[B]`, at least 0.
  """
  start = degenerate.astype(jnp.float32)
  way = _rounded(spread(factor.astype(jnp.float32)) * (images.astype(jnp.float32) - start))
  return jnp.clip(start + way, 0, 255).astype(jnp.uint8)


def brightness(images: Array, factor: Array) -> Array:
  """Scales values: a blend with black. factor `[B]`, 0 black, 1 unchanged."""
  return blend(jnp.zeros((1, 1, 1, 1), jnp.uint8), images, factor)


def color(images: Array, factor: Array) -> Array:
  """Scales saturation: a blend with the grey image. factor `[B]`, 0 grey, 1 unchanged."""
  return blend(grey(images), images, factor)


def contrast(images: Array, factor: Array) -> Array:
  """Scales contrast: a blend with the mean grey. factor `[B]`, 0 flat, 1 unchanged."""
  n = images.shape[1] * images.shape[2]
  total = grey(images).astype(jnp.int32).sum((1, 2), keepdims=True)
  return blend((2 * total + n) // (2 * n), images, factor)


def sharpness(images: Array, factor: Array) -> Array:
  """Sharpens: a blend with the smoothed image. factor `[B]`, 0 smooth, 1 unchanged."""
  return blend(smooth(images), images, factor)


def _byte(share: Array) -> Array:
  """Returns floor(255 share) of the exact product, which float32 may round up to a whole number."""
  whole = jnp.floor(255 * share)
  # 256 share and the difference from its neighbour are exact
  return jnp.where(256 * share - whole < share, whole - 1, whole)


def hue(images: Array, turn: Array) -> Array:
  """Turns the hue circle by a share of it, in Pillow's HSV of bytes.

  Single values differ from Pillow's by up to 6 (a hue byte one off), where its float64 decides.

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
  # half up, as C's round of a positive number
  p, q, t = (
    jnp.floor(high * (1 - _rounded(s * f)) + 0.5) for f in (jnp.ones_like(s), part, 1 - part)
  )
  rgb = [(high, t, p), (q, high, p), (p, high, t), (p, q, high), (t, p, high), (high, p, q)]
  which = jnp.floor(sector).astype(jnp.int32)[..., None] % 6
  out = jnp.select([which == k for k in range(6)], [jnp.stack(c, -1) for c in rgb])
  return out.astype(jnp.uint8)


# filters of 3 x 3


def _inside(images: Array, filtered: Array) -> Array:
  """Puts the filtered inner `[B, H-2, W-2, 3]` into the images, whose border stays."""
  return images.at[:, 1:-1, 1:-1].set(jnp.clip(filtered, 0, 255).astype(jnp.uint8))


def _square(images: Array) -> tuple[Array, Array]:
  """Returns the centres and the sums over 3 x 3 around them, int32 `[B, H-2, W-2, 3]`."""
  x = images.astype(jnp.int32)
  lines = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
  return x[:, 1:-1, 1:-1], lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:]


def smooth(images: Array) -> Array:
  """Averages over 3 x 3, the centre counted 5 times, over 13; half up; the border stays."""
  centre, total = _square(images)
  return _inside(images, (2 * (total + 4 * centre) + 13) // 26)


def edge_enhance(images: Array) -> Array:
  """Takes (10 centre - the 8 around it) / 2; half up; the border stays."""
  centre, total = _square(images)
  return _inside(images, (11 * centre - total + 1) // 2)


# the products with Pillow's float32 weights: a table, since a product would be fused with a sum
_SIXTH = np.arange(256, dtype=np.float32) * (np.float32(-1) / np.float32(6))
_TEN_SIXTHS = np.arange(256, dtype=np.float32) * (np.float32(10) / np.float32(6))


def detail(images: Array) -> Array:
  """Takes (10 centre - the 4 beside it) / 6; half up; the border stays.

  Halves are frequent here, and float32 decides them: the sums follow Pillow's order.
  """
  x = images.astype(jnp.int32)
  side, centre = jnp.asarray(_SIXTH)[x], jnp.asarray(_TEN_SIXTHS)[x[:, 1:-1, 1:-1]]
  row = (side[:, 1:-1, :-2] + centre) + side[:, 1:-1, 2:]
  total = ((0.5 + side[:, 2:, 1:-1]) + row) + side[:, :-2, 1:-1]
  return _inside(images, jnp.floor(total))


# blur

MAX_RADIUS = 2.4  # of `gaussian_blur`: from 2.45 on a box would need more than five taps


def _box_weights(radius: Array) -> tuple[Array, Array, Array]:
  """Returns the box of three passes: whether its inner part is 3 wide, weights inside and at ends.

  Pillow's fixed point of 24 bits, uint32 `[B]`.
  """
  sigma2 = radius * radius / 3
  whole = jnp.floor((jnp.sqrt(12 * sigma2 + 1) - 1) / 2)
  part = (2 * whole + 1) * (whole * (whole + 1) - 3 * sigma2)
  size = 2 * (whole + part / (6 * (sigma2 - (whole + 1) ** 2))) + 1
  wide = size >= 3  # by the sum, as Pillow: it may round up to the next whole radius
  width = jnp.where(wide, 3, 1).astype(jnp.uint32)
  # the bound holds by itself where division rounds correctly, which not every device promises
  inner = jnp.minimum((2.0**24 / size).astype(jnp.uint32), (1 << 24) // width)
  ends = ((1 << 24) - width * inner) // 2
  return wide, inner, ends


def _box_pass(x: Array, wide: Array, inner: Array, ends: Array, axis: int) -> Array:
  """Blurs uint32 images once along an axis; beyond the border its pixels repeat."""
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
  """Blurs by three extended boxes along each axis, rounded to bytes after each.

  Args:
    images: uint8 `[B, H, W, 3]`.
    radius: float32 `[B]`, standard deviation in pixels, 0 (identity) .. 2.4.

  Reference: Gwosdek et al., SSVM 2011.
  """
  wide, inner, ends = map(spread, _box_weights(jnp.clip(radius, 0, MAX_RADIUS)))
  x = images.astype(jnp.uint32)
  for axis in (2, 2, 2, 1, 1, 1):
    x = _box_pass(x, wide, inner, ends, axis)
  return x.astype(jnp.uint8)
