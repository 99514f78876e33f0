"""Applies one op of a table to each image of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fass_jax.augment.pixels import spread
from fass_jax.types import Array

Op = Callable[[Array, Array], Array]  # (uint8 [B, H, W, 3], value [B]) -> uint8 [B, H, W, 3]


def plain(op: Callable[[Array], Array]) -> Op:
  """Gives an op without a magnitude the second argument of the others."""
  return lambda images, value: op(images)


def apply_each(
  ops: Sequence[Op], index: Array, images: Array, values: Array, serial: bool | None = None
) -> Array:
  """Applies to image i the op `ops[index[i]]` with magnitude `values[i]`.

  Args:
    ops: the table.
    index: int32 `[B]`; any other than a place in `ops` leaves the image as it is.
    images: uint8 `[B, H, W, 3]`.
    values: float32 `[B]`.
    serial: one image after another, each through its own op; otherwise every op on the whole
      batch, and a choice. None: serial on a CPU. The results are equal; a CPU saves the ops
      that no image asked for, an accelerator would wait for every image in turn.
  """
  if serial is None:
    serial = jax.default_backend() == 'cpu'
  if not serial:
    out = images
    for place, op in enumerate(ops):
      out = jnp.where(spread(index == place), op(images, values), out)
    return out

  def alone(op: Op) -> Callable[[Array, Array], Array]:
    return lambda image, value: op(image[None], value[None])[0]

  branches = [alone(op) for op in ops] + [lambda image, value: image]
  index = jnp.where((index >= 0) & (index < len(ops)), index, len(ops))
  return jax.lax.map(lambda a: jax.lax.switch(a[0], branches, *a[1:]), (index, images, values))
