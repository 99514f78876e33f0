"""Cutout: one black square."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array

SIDE = 1 / 2  # of the image's: 16 pixels of 32


def cutout(key: Array, images: Array, strength: Array | None = None) -> Array:
  """Blackens a square of half the side, centred on a uniformly drawn pixel, clipped at the border.

  Rows y - s/2 .. y + s/2 - 1. Black before normalising, as the field's code does after scaling
  to 0 .. 1.

  Args:
    key: a key.
    images: uint8 `[B, H, W, 3]`.
    strength: not read.

  Reference: DeVries and Taylor, 2017.
  """
  del strength
  batch, height, width = images.shape[:3]

  def covered(key: Array, side: int) -> Array:
    """Returns bool `[B, side]`: the pixels of one axis that the square covers."""
    half = int(side * SIDE) // 2
    middle = jax.random.randint(key, (batch, 1), 0, side)
    place = jnp.arange(side)[None]
    return (place >= middle - half) & (place < middle + half)

  ky, kx = jax.random.split(key)
  rows, columns = covered(ky, height), covered(kx, width)
  return jnp.where((rows[:, :, None] & columns[:, None])[..., None], 0, images)
