"""Ops with a strength per class from a signal: CUDA's 22 ops and DODA's ten.

Ops take `(key, images uint8 [B, H, W, 3], strength [B])`; strengths are whole numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.augment import geometry, pixels
from fass_jax.augment.choose import Op, apply_each, plain
from fass_jax.types import Array


class Ranged(NamedTuple):
  """An op with the range of its magnitude."""

  op: Op
  low: float  # at level 0
  high: float  # at level 30
  signed: bool  # True: the sign is random


def translate_x(images: Array, fraction: Array) -> Array:
  """Moves images left by a fraction `[B]` of their width."""
  return geometry.translate_x(images, fraction * images.shape[2])


def translate_y(images: Array, fraction: Array) -> Array:
  """Moves images up by a fraction `[B]` of their height."""
  return geometry.translate_y(images, fraction * images.shape[1])


# the blur's radius is in pixels at every image size, because its boxes have at most 5 taps
CUDA_OPS: dict[str, Ranged] = {
  'flip': Ranged(plain(geometry.flip), 0, 1, False),
  'mirror': Ranged(plain(geometry.mirror), 0, 1, False),
  'edge_enhance': Ranged(plain(pixels.edge_enhance), 0, 1, False),
  'detail': Ranged(plain(pixels.detail), 0, 1, False),
  'smooth': Ranged(plain(pixels.smooth), 0, 1, False),
  'autocontrast': Ranged(plain(pixels.autocontrast), 0, 1, False),
  'equalize': Ranged(plain(pixels.equalize), 0, 1, False),
  'invert': Ranged(plain(pixels.invert), 0, 1, False),
  'gaussian_blur': Ranged(pixels.gaussian_blur, 0, 2, False),
  'resize_crop': Ranged(geometry.resize_crop, 1, 1.5, False),
  'rotate': Ranged(geometry.rotate, 0, 30, True),
  'posterize': Ranged(pixels.posterize, 0, 4, False),
  'solarize': Ranged(pixels.solarize, 0, 256, False),
  'solarize_add': Ranged(pixels.solarize_add, 0, 110, False),
  'color': Ranged(pixels.color, 0.1, 1.9, False),
  'contrast': Ranged(pixels.contrast, 0.1, 1.9, False),
  'brightness': Ranged(pixels.brightness, 0.1, 1.9, False),
  'sharpness': Ranged(pixels.sharpness, 0.1, 1.9, False),
  'shear_x': Ranged(geometry.shear_x, 0, 0.3, True),
  'shear_y': Ranged(geometry.shear_y, 0, 0.3, True),
  'translate_x': Ranged(translate_x, 0, 3.125, True),  # 100 of 32 pixels
  'translate_y': Ranged(translate_y, 0, 3.125, True),
}
MAX_LEVEL = 30
# DODA's ten ops, in its order; the last two draw their magnitude at each call
DODA_OPS = (
  'flip',
  'mirror',
  'edge_enhance',
  'detail',
  'smooth',
  'autocontrast',
  'equalize',
  'invert',
  'gaussian_blur',
  'rotate',
)


def cuda_values() -> np.ndarray:
  """Returns the magnitude of each op at each level L, float32 `[22, 31]`: min + (max - min) L / 30.

  Computed in float64 as in CUDA's code, because some ops round the magnitude to a whole number.
  """
  share = np.arange(MAX_LEVEL + 1) / MAX_LEVEL
  return np.array([share * (r.high - r.low) + r.low for r in CUDA_OPS.values()], np.float32)


def cuda_draw(key: Array, level: Array) -> tuple[Array, Array]:
  """Draws an op and the sign of its magnitude per image.

  Args:
    key: a PRNG key.
    level: int32 `[B]`, 0 .. 30.

  Returns:
    int32 `[B]`, the index of the op in `CUDA_OPS`; float32 `[B]`, its signed magnitude.
  """
  kop, ksign = jax.random.split(key)
  signed = jnp.array([r.signed for r in CUDA_OPS.values()])
  index = jax.random.randint(kop, level.shape, 0, len(CUDA_OPS))
  minus = jax.random.bernoulli(ksign, 0.5, level.shape) & signed[index]
  return index, jnp.asarray(cuda_values())[index, level] * jnp.where(minus, -1, 1)


def cuda(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
  """Applies L ops to an image with level L, drawn uniformly with replacement.

  Level 0 is the identity. The level sets the number of ops and their magnitudes. A higher level is
  not always a stronger change: `solarize`, `posterize`, `color`, `contrast`, `brightness` and
  `sharpness` change an image more at low levels.

  Args:
    key: a PRNG key.
    images: uint8 `[B, H, W, 3]`.
    strength: `[B]`, levels, whole numbers 0 .. 30 (CUDA uses 0 .. 10).
    serial: see `apply_each`.

  Returns:
    uint8 `[B, H, W, 3]`.

  Reference: Ahn et al., CUDA: Curriculum of Data Augmentation for Long-Tailed Recognition,
  arXiv:2302.05499.
  """
  level = jnp.clip(jnp.round(strength).astype(jnp.int32), 0, MAX_LEVEL)
  ops = [r.op for r in CUDA_OPS.values()]

  def body(i: Array, images: Array) -> Array:
    index, value = cuda_draw(jax.random.fold_in(key, i), level)
    return apply_each(ops, jnp.where(i < level, index, len(ops)), images, value, serial)

  # the highest level in the batch bounds the loop, so early epochs need few iterations
  return jax.lax.fori_loop(0, level.max(), body, images)


def doda(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
  """Applies to each image the op that the signal `op_weights` drew for its class.

  Args:
    key: a PRNG key, for the radius of the blur (0 .. 2 pixels) and the angle (-30 .. 30 degrees).
    images: uint8 `[B, H, W, 3]`.
    strength: `[B]`, whole numbers: 0 means no op, k + 1 means op k of `DODA_OPS`.
    serial: see `apply_each`.

  Returns:
    uint8 `[B, H, W, 3]`.

  Reference: Wang et al., Kill Two Birds with One Stone: Rethinking Data Augmentation for Deep
  Long-tailed Learning, ICLR 2024.
  """
  kvalue, ksign = jax.random.split(key)
  index = jnp.round(strength).astype(jnp.int32) - 1
  high = jnp.array([CUDA_OPS[name].high for name in DODA_OPS], jnp.float32)
  signed = jnp.array([CUDA_OPS[name].signed for name in DODA_OPS])
  at = jnp.clip(index, 0, len(DODA_OPS) - 1)
  minus = jax.random.bernoulli(ksign, 0.5, index.shape) & signed[at]
  value = jax.random.uniform(kvalue, index.shape) * high[at] * jnp.where(minus, -1, 1)
  return apply_each([CUDA_OPS[n].op for n in DODA_OPS], index, images, value, serial)
