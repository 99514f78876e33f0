"""Random crop with zero padding, and horizontal flip.

Ops take `(key, images uint8 [B, H, W, 3], strength float [B])` and return images of the same
shape and dtype. Lengths are fractions of the image's side.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array

PAD = 1 / 8  # 4 of 32 pixels, 1 of 8


def shift(images: Array, dy: Array, dx: Array) -> Array:
  """Shifts each image by whole pixels and pads with zeros: out[i, j] = in[i + dy, j + dx].

  Args:
    images: uint8 `[B, H, W, 3]`.
    dy: int32 `[B]`, pixels.
    dx: int32 `[B]`, pixels.
  """
  height, width = images.shape[1:3]

  def one(image: Array, y: Array, x: Array) -> Array:
    rows, cols = jnp.arange(height) + y, jnp.arange(width) + x
    inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))[None, :]
    moved = image[jnp.clip(rows, 0, height - 1)][:, jnp.clip(cols, 0, width - 1)]
    return jnp.where(inside[..., None], moved, 0).astype(image.dtype)

  return jax.vmap(one)(images, dy, dx)


def random_crop(key: Array, images: Array, strength: Array | None = None) -> Array:
  """Pads each image with zeros by 1/8 of its side and crops it to its size at a random position.

  The padding is zero *before* normalisation and so becomes -mean/std, as in common CIFAR code.
  """
  del strength
  batch, height, width = images.shape[:3]
  ky, kx = jax.random.split(key)
  py, px = round(height * PAD), round(width * PAD)
  dy = jax.random.randint(ky, (batch,), -py, py + 1)
  dx = jax.random.randint(kx, (batch,), -px, px + 1)
  return shift(images, dy, dx)


def random_flip(key: Array, images: Array, strength: Array | None = None) -> Array:
  """Flips each image horizontally with probability 1/2."""
  del strength
  flip = jax.random.bernoulli(key, 0.5, images.shape[:1])
  return jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)
