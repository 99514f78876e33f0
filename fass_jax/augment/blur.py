"""Gaussian blur, a part of contrastive augmentations."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.augment.pixels import spread
from fass_jax.types import Array

SIGMA = (0.1, 2.0)  # pixels, SimCLR's range
CHANCE = 0.5
REACH = 6  # pixels to each side: three times the largest sigma


def gaussian_blur(images: Array, sigma: Array) -> Array:
  """Blurs each image: y = sum_d w_d x_{p + d} along rows, then columns, w_d ~ e^{-d^2 / 2 sigma^2}.

  The weights reach to `REACH` pixels on each side and sum to 1. Pixels outside of the image are
  those at its edge.

  Args:
    images: uint8 `[B, H, W, 3]`.
    sigma: float `[B]`, pixels, above 0 and at most a third of `REACH`.

  Returns:
    uint8 `[B, H, W, 3]`, rounded once.
  """
  offset = jnp.arange(-REACH, REACH + 1, dtype=jnp.float32)
  weight = jnp.exp(-jnp.square(offset[None, :] / sigma[:, None]) / 2)
  weight = weight / weight.sum(axis=1, keepdims=True)

  def along(x: Array, axis: int) -> Array:
    sides = [(0, 0)] * 4
    sides[axis] = (REACH, REACH)
    padded, size = jnp.pad(x, sides, mode='edge'), x.shape[axis]
    out = jnp.zeros_like(x)
    for i in range(2 * REACH + 1):
      out += spread(weight[:, i]) * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
    return out

  blurred = along(along(images.astype(jnp.float32), 1), 2)
  return jnp.round(jnp.clip(blurred, 0, 255)).astype(jnp.uint8)


def blur(key: Array, images: Array, strength: Array) -> Array:
  """Blurs half of the images by a Gaussian with sigma ~ U(0.1, 2) pixels, as SimCLR does.

  Reference: Chen et al., A Simple Framework for Contrastive Learning of Visual Representations,
  arXiv:2002.05709.
  """
  kon, ksigma = jax.random.split(key)
  batch = images.shape[0]
  sigma = jax.random.uniform(ksigma, (batch,), minval=SIGMA[0], maxval=SIGMA[1])
  on = jax.random.bernoulli(kon, CHANCE, (batch,)) & (strength != 0)
  return jnp.where(spread(on), gaussian_blur(images, sigma), images)
