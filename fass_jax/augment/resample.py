"""Enlarging by separable weights, with Pillow's fixed point of 22 bits."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array

BITS = 22  # two spare ones for weights below 0 and above 1


def _triangle(x: np.ndarray) -> np.ndarray:
  return np.maximum(1 - np.abs(x), 0)


def _lanczos(x: np.ndarray) -> np.ndarray:
  return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS = {'bilinear': (_triangle, 1), 'lanczos': (_lanczos, 3)}


def taps(size: int, enlarged: int, name: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns where each output pixel starts to read, and its weights.

  Args:
    size: pixels before.
    enlarged: pixels after, not fewer.
    name: a filter of `FILTERS`.

  Returns:
    int32 `[enlarged]` and int32 `[enlarged, taps]`, whose sum is 2^22 up to rounding; weights
    of pixels outside are 0.
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
  """Stacks the central `side` outputs of n pairs `(size, enlarged)`.

  Returns:
    int32 `[n, side]` and `[n, side, taps]`, as of `taps`.
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

  As products of matrices, which are fast everywhere. Weights go in two halves of 11 bits: then
  every sum of products with bytes is a whole number below 2^24, so float32 is exact.
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
  """Resamples along the columns, rounds to bytes, then along the rows.

  Args:
    images: uint8 `[B, H, W, 3]`.
    rows: int32 `[B, H']` and `[B, H', taps]`, as `taps` gives them, for each image.
    columns: the same for the width.

  Returns:
    uint8 `[B, H', W', 3]`.
  """
  x = _along_columns(images.astype(jnp.int32), *columns)
  x = _along_columns(jnp.swapaxes(x, 1, 2), *rows)
  return jnp.swapaxes(x, 1, 2).astype(jnp.uint8)
