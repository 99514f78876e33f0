"""Shared parts of all networks: arithmetic, initialisers, convolution, branches of experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from fass_jax.nets.convolution import Convolution, direct


def wide(dtype: Any) -> Any:
  """Returns the dtype of parameters and statistics for activations of `dtype`.

  It is float64 for float64, otherwise float32 (also for bfloat16).
  """
  return jnp.promote_types(dtype, jnp.float32)


class Arithmetic(NamedTuple):
  """The arithmetic of a network's convolutions; parameters are `wide(dtype)`."""

  dtype: Any = jnp.float32  # dtype of the activations
  precision: jax.lax.Precision | None = None  # precision of float32 products
  convolve: Convolution = direct


def in_float32(initial: Any) -> Any:
  """Makes an initialiser draw in float32, so that float64 runs have the same initial values."""
  return lambda key, shape, dtype=jnp.float32: initial(key, shape, jnp.float32).astype(dtype)


# N(0, sqrt(2 / fan)); flax's he_normal is a *truncated* normal
he_normal = in_float32(nn.initializers.variance_scaling(2.0, 'fan_in', 'normal'))
he_normal_out = in_float32(nn.initializers.variance_scaling(2.0, 'fan_out', 'normal'))


def uniform(bound: float) -> Any:
  """Returns the initialiser U(-bound, bound)."""
  return in_float32(lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound))


def conv(
  features: int,
  size: int,
  stride: int,
  name: str,
  how: Arithmetic,
  *,
  groups: int = 1,
  initial: Any = he_normal,
) -> nn.Conv:
  """Returns a convolution without bias, with odd kernel size and padding (size - 1) / 2."""
  # explicit padding: 'SAME' pads stride-2 convolutions on one side only
  border = (size // 2, size // 2)
  return nn.Conv(
    features,
    (size, size),
    (stride, stride),
    padding=(border, border),
    feature_group_count=groups,
    use_bias=False,
    kernel_init=initial,
    dtype=how.dtype,
    param_dtype=wide(how.dtype),
    precision=how.precision,
    conv_general_dilated=how.convolve,
    name=name,
  )


def in_branches(
  x: jax.Array,
  blocks: Sequence[tuple[int, int]],
  one: Callable[[jax.Array, int, int, str, bool], jax.Array],
  experts: int,
  own: int,
  reduced: bool,
  pooled: bool,
) -> jax.Array:
  """Applies the blocks of a residual network, the last ones per expert, and pools.

  Args:
    x: `[B, H, W, F]`, output of the stem.
    blocks: (stage, index in the stage), in order.
    one: applies a block: `(x, stage, index, prefix of its name, narrower) -> x`.
    experts: E.
    own: number of last blocks that are separate per expert; unused for E = 1.
    reduced: True: these blocks are narrower.
    pooled: True: average over the pixels.

  Returns:
    float32 or float64: the pooled features, `[B, D]`, or `[B, E, D]` with experts; or without
    pooling the feature maps, `[B, h, w, D]` or `[B, E, h, w, D]`.
  """

  def run(x: jax.Array, some: Sequence[tuple[int, int]], prefix: str, narrow: bool) -> jax.Array:
    for stage, place in some:
      x = one(x, stage, place, prefix, narrow)
    return x

  def pool(x: jax.Array) -> jax.Array:
    x = x.astype(wide(x.dtype))
    return x.mean(axis=(1, 2)) if pooled else x

  if experts == 1:
    return pool(run(x, blocks, '', False))
  x = run(x, blocks[:-own], '', False)
  return jnp.stack(
    [pool(run(x, blocks[-own:], f'expert{e}_', reduced)) for e in range(experts)], axis=1
  )
