"""Colour jitter as in torchvision, with a random order of the ops per image."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.augment import pixels
from fass_jax.augment.choose import Op, apply_each
from fass_jax.types import Array

# a strength s scales brightness, contrast, saturation by 1 - s .. 1 + s and shifts hue by -s .. s;
# strength 0 means no op
OPS: list[Op] = [pixels.brightness, pixels.contrast, pixels.color, pixels.hue]
SIMCLR = (0.4, 0.4, 0.4, 0.1)


def draw(key: Array, batch: int, strengths: tuple[float, ...] = SIMCLR) -> tuple[Array, Array]:
  """Draws the order and the magnitudes of the n ops with a strength other than 0.

  Returns:
    int32 `[B, n]`, indices into `OPS` in the order of application; float `[B, n]`, magnitudes.
  """
  korder, kvalue = jax.random.split(key)
  ops = [i for i, s in enumerate(strengths) if s]
  order = jnp.argsort(jax.random.uniform(korder, (batch, len(ops))), -1)
  centre = jnp.array([[1, 1, 1, 0]])[:, jnp.array(ops)]
  reach = jnp.array([[strengths[i] for i in ops]])
  value = centre + reach * jax.random.uniform(kvalue, order.shape, minval=-1, maxval=1)
  return jnp.array(ops)[order], jnp.take_along_axis(value, order, 1)


def color_jitter(
  key: Array,
  images: Array,
  on: Array,
  serial: bool | None = None,
  strengths: tuple[float, ...] = SIMCLR,
) -> Array:
  """Applies the ops of `OPS` in a random order per image.

  Args:
    key: a PRNG key.
    images: uint8 `[B, H, W, 3]`.
    on: bool `[B]`, False for images that stay unchanged.
    serial: see `apply_each`.
    strengths: strengths of the four ops.
  """
  order, value = draw(key, len(images), strengths)
  order = jnp.where(on[:, None], order, len(OPS))

  def body(i: Array, images: Array) -> Array:
    return apply_each(OPS, order[:, i], images, value[:, i], serial)

  return jax.lax.fori_loop(0, order.shape[1], body, images)


def jitter(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
  """Scales brightness, contrast and saturation by 0.6 .. 1.4, in a random order.

  This is torchvision's ColorJitter(0.4, 0.4, 0.4, 0) on Pillow images, a usual part of ImageNet-LT
  recipes.
  """
  return color_jitter(key, images, strength != 0, serial, (0.4, 0.4, 0.4, 0))
