"""Colours changed in an order of the ops that is drawn for each image, as torchvision's."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.augment import pixels
from fass_jax.augment.choose import Op, apply_each
from fass_jax.types import Array

# brightness, contrast and saturation by 1 - s .. 1 + s, hue by -s .. s; a strength of 0 is no op
OPS: list[Op] = [pixels.brightness, pixels.contrast, pixels.color, pixels.hue]
SIMCLR = (0.4, 0.4, 0.4, 0.1)


def draw(key: Array, batch: int, strengths: tuple[float, ...] = SIMCLR) -> tuple[Array, Array]:
  """Draws an order of the n ops for each image, int32 `[B, n]`, and the magnitudes in that order.

  The ops are places in `OPS`, those whose strength is not 0.
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
  """Applies the ops of `OPS` in an order drawn for each image.

  Args:
    key: of `draw`.
    images: uint8 `[B, H, W, 3]`.
    on: bool `[B]`, which images are changed.
    serial: as of `apply_each`.
    strengths: of the four ops.
  """
  order, value = draw(key, len(images), strengths)
  order = jnp.where(on[:, None], order, len(OPS))

  def body(i: Array, images: Array) -> Array:
    return apply_each(OPS, order[:, i], images, value[:, i], serial)

  return jax.lax.fori_loop(0, order.shape[1], body, images)


def jitter(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
  """Changes brightness, contrast and saturation by .6 .. 1.4, in a drawn order.

  As torchvision's ColorJitter(.4, .4, .4, 0) on Pillow images, which ImageNet's recipes of the
  field have.
  """
  return color_jitter(key, images, strength != 0, serial, (0.4, 0.4, 0.4, 0))
