"""Max pooling for the stem of a residual network, with a gradient that is fast on a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from fass_jax.nets.convolution import from_memory
from fass_jax.types import Array


def _plain(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def _windows(x: Array, rows: int, cols: int) -> list[Array]:
  """Returns the value at each of the nine positions of a window, `[B, rows, cols, C]`, by rows."""
  n, height, width, features = x.shape
  border = ((0, 0), (1, 2 * rows + 1 - height), (1, 2 * cols + 1 - width), (0, 0))
  x = jnp.pad(x, border, constant_values=-jnp.inf)
  # odd and even rows and columns as separate axes, so that no slice needs a stride
  x = x.reshape(n, rows + 1, 2, cols + 1, 2, features)
  return [
    x[:, i // 2 : i // 2 + rows, i % 2, j // 2 : j // 2 + cols, j % 2]
    for i in range(3)
    for j in range(3)
  ]


def _backward(kept: tuple[Array, Array], dy: Array) -> tuple[Array]:
  x, y = kept
  n, height, width, features = x.shape
  rows, cols = y.shape[1:3]
  which = jnp.full(y.shape, 9, jnp.int32)
  for place, value in reversed(list(enumerate(_windows(x, rows, cols)))):
    which = jnp.where(value == y, place, which)  # reversed, so that the first of equal values wins
  which = from_memory(which)

  def part(i: int, j: int) -> Array:
    share = jnp.where(which == 3 * i + j, dy, 0)
    return jnp.pad(share, ((0, 0), (i // 2, 1 - i // 2), (j // 2, 1 - j // 2), (0, 0)))

  places = {0: (0, 2), 1: (1,)}  # parity of the padded row (column) -> rows (columns) of a window
  dx = jnp.stack(
    [
      jnp.stack([sum(part(i, j) for i in places[r] for j in places[c]) for c in (0, 1)], 3)
      for r in (0, 1)
    ],
    2,
  )
  dx = dx.reshape(n, 2 * rows + 2, 2 * cols + 2, features)
  return (dx[:, 1 : height + 1, 1 : width + 1],)


def max_pool(x: Array) -> Array:
  """Max-pools 3 x 3 windows with stride 2: `[B, H, W, C] -> [B, H/2, W/2, C]`.

  The padding is 1 pixel of -inf; odd sides round up. The gradient goes to the first of equal values
  in row-major order. On a CPU, XLA implements it as a scatter, which is seven times as slow as the
  nine comparisons here.
  """
  if jax.default_backend() != 'cpu':
    return _plain(x)
  pool = jax.custom_vjp(_plain)

  def forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = _plain(x)
    return y, (x, y)

  pool.defvjp(forward, _backward)
  return pool(x)
