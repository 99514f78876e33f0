"""Applies a different op of a table to each image of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fass_jax.augment.pixels import spread
from fass_jax.types import Array

Op = Callable[[Array, Array], Array]  # (uint8 [B, H, W, 3], value [B]) -> uint8 [B, H, W, 3]


def plain(op: Callable[[Array], Array]) -> Op:
  """Adds an unused magnitude argument to an op."""
  return lambda images, value: op(images)


def apply_each(
  ops: Sequence[Op], index: Array, images: Array, values: Array, serial: bool | None = None
) -> Array:
  """Applies the op `ops[index[i]]` with magnitude `values[i]` to image i.

  Args:
    ops: the table of ops.
    index: int32 `[B]`; an index outside of `ops` means no op.
    images: uint8 `[B, H, W, 3]`.
    values: float32 `[B]`.
    serial: True: one image at a time, with its own op only; False: every op on the whole batch,
      then a selection; None: True on a CPU, False elsewhere. The results are equal. Serial saves
      unused ops on a CPU, but a loop over images is slow on an accelerator.

  Returns:
    uint8 `[B, H, W, 3]`.
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
