"""Cutout: sets a random square to black."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array

SIDE = 1 / 2  # side of the square as a fraction of the image's: 16 of 32 pixels


def cutout(key: Array, images: Array, strength: Array | None = None) -> Array:
  """Sets a square of half the image's side to black, centred on a uniformly drawn pixel.

  The square of side s covers rows y - s/2 .. y + s/2 - 1, clipped at the border, and columns
  alike. The value is black before normalisation, as in common CIFAR code.

  Args:
    key: a PRNG key.
    images: uint8 `[B, H, W, 3]`.
    strength: unused.

  Returns:
    uint8 `[B, H, W, 3]`.

  Reference: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with
  Cutout, arXiv:1708.04552.
  """
  del strength
  batch, height, width = images.shape[:3]

  def covered(key: Array, side: int) -> Array:
    """Returns bool `[B, side]`, True for positions along one axis inside the square."""
    half = int(side * SIDE) // 2
    middle = jax.random.randint(key, (batch, 1), 0, side)
    place = jnp.arange(side)[None]
    return (place >= middle - half) & (place < middle + half)

  ky, kx = jax.random.split(key)
  rows, columns = covered(ky, height), covered(kx, width)
  return jnp.where((rows[:, :, None] & columns[:, None])[..., None], 0, images)
