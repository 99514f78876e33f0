"""Enlarges images by separable filters, in Pillow's 22-bit fixed point."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array

BITS = 22  # Pillow's precision; two bits are free for weights below 0 and above 1


def _triangle(x: np.ndarray) -> np.ndarray:
  return np.maximum(1 - np.abs(x), 0)


def _lanczos(x: np.ndarray) -> np.ndarray:
  return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS = {'bilinear': (_triangle, 1), 'lanczos': (_lanczos, 3)}


def taps(size: int, enlarged: int, name: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns the first input pixel and the filter weights of each output pixel.

  Args:
    size: input pixels.
    enlarged: output pixels, >= size.
    name: a filter of `FILTERS`.

  Returns:
    int32 `[enlarged]`, first input pixels; int32 `[enlarged, taps]`, weights with sum 2^22 up to
    rounding and 0 for pixels outside of the image.
  """
  function, support = FILTERS[name]
  scale = size / enlarged
  centre = (np.arange(enlarged) + 0.5) * scale
  start = np.maximum((centre - support + 0.5).astype(np.int32), 0)
  stop = np.minimum((centre + support + 0.5).astype(np.int32), size)
  place = start[:, None] + np.arange(2 * support + 1)
  weight = function(place - centre[:, None] + 0.5) * (place < stop[:, None])
  weight = weight / weight.sum(1, keepdims=True) * 2**BITS
  return start, np.trunc(weight + np.copysign(0.5, weight)).astype(np.int32)


@functools.cache
def table(pairs: tuple[tuple[int, int], ...], name: str, side: int) -> tuple[np.ndarray, ...]:
  """Stacks the results of `taps` for n pairs `(size, enlarged)`, for the central `side` outputs.

  Returns:
    int32 `[n, side]`, first input pixels, and int32 `[n, side, taps]`, weights.
  """
  starts, weights = [], []
  for size, enlarged in pairs:
    left = enlarged // 2 - side // 2
    start, weight = taps(size, enlarged, name)
    starts.append(start[left : left + side])
    weights.append(weight[left : left + side])
  return np.stack(starts), np.stack(weights)


def _along_columns(images: Array, start: Array, weight: Array) -> Array:
  """Resamples int32 `[B, H, W, 3]` by `[B, side]` and `[B, side, taps]` to `[B, H, side, 3]`.

  Matrix products are fast on every device. The weights are split into two halves of 11 bits, so
  that every sum of products with bytes is a whole number below 2^24 and exact in float32.
  """
  tap = jnp.arange(images.shape[2])[None, None] - start[..., None]
  last = weight.shape[-1] - 1
  dense = jnp.take_along_axis(weight, jnp.clip(tap, 0, last), -1)
  dense = jnp.where((tap >= 0) & (tap <= last), dense, 0)  # [B, side, W]
  half = BITS // 2
  high, low = (
    jnp.einsum(
      'bhwc,bow->bhoc',
      images.astype(jnp.float32),
      part.astype(jnp.float32),
      precision=jax.lax.Precision.HIGHEST,
    ).astype(jnp.int32)
    for part in (dense >> half, dense & ((1 << half) - 1))
  )
  return jnp.clip(((high << half) + low + (1 << (BITS - 1))) >> BITS, 0, 255)


def resample(images: Array, rows: Sequence[Array], columns: Sequence[Array]) -> Array:
  """Resamples along the width, rounds to bytes, then resamples along the height.

  Args:
    images: uint8 `[B, H, W, 3]`.
    rows: int32 `[B, H']` and `[B, H', taps]`, results of `taps` per image.
    columns: int32 `[B, W']` and `[B, W', taps]`.

  Returns:
    uint8 `[B, H', W', 3]`.
  """
  x = _along_columns(images.astype(jnp.int32), *columns)
  x = _along_columns(jnp.swapaxes(x, 1, 2), *rows)
  return jnp.swapaxes(x, 1, 2).astype(jnp.uint8)
