"""Two dimensional convolutions: XLA's own, and one batched matrix product over patches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.types import Array

Convolution = Callable[..., Array]
Padding = Sequence[tuple[int, int]]
FEW = 128  # channels from which on XLA's plain loops cost more than longer compiling


def from_memory(x: Array) -> Array:
  """Returns `x`, written out once: on a CPU XLA looks through everything but control flow."""
  # true unless x holds a nan, and then the run is about to be stopped
  first = x[(0,) * x.ndim]
  return jax.lax.cond(first == first, lambda v: v, lambda v: -v, x)


def direct(x: Array, kernel: Array, strides: Sequence[int], padding: Padding, **how: Any) -> Array:
  """Convolves: `x [B, H, W, C]`, `kernel [h, w, C / groups, F]` -> `[B, H', W', F]`.

  On a CPU the gradient of the kernel reads `x` from memory. Left alone, XLA recomputes `x` inside
  a transposition that this gradient starts with, through all residual blocks of the stage back to
  the last convolution that it kept: ResNet-32 took 1.6 times as long a step. And a kernel larger
  than the image it reads or writes makes XLA convolve in plain loops, 50 times as slow as `patches`
  (layer 4 of a ResNet at 64 pixels: 3 x 3 over 2 x 2, 512 channels).

  Args:
    x: images or features.
    kernel: the weights.
    strides: of both axes.
    padding: before and after, of both axes.
    **how: what else `jax.lax.conv_general_dilated` takes, `feature_group_count` among it.
  """

  def plain(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **how)

  if jax.default_backend() != 'cpu':
    return plain(x, kernel)
  sizes = jax.eval_shape(plain, x, kernel).shape[1:3]
  if kernel.shape[3] >= FEW and min(*x.shape[1:3], *sizes) < max(kernel.shape[:2]):
    return patches(x, kernel, strides, padding, **how)
  convolve = jax.custom_vjp(plain)

  def backward(kept: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = kept
    (dx,) = jax.vjp(lambda v: plain(v, kernel), x)[1](dy)
    (dkernel,) = jax.vjp(functools.partial(plain, from_memory(x)), kernel)[1](dy)
    return dx, dkernel

  convolve.defvjp(lambda x, kernel: (plain(x, kernel), (x, kernel)), backward)
  return convolve(x, kernel)


def patches(
  x: Array,
  kernel: Array,
  strides: Sequence[int],
  padding: Padding,
  *,
  precision: Any = None,
  feature_group_count: int = 1,
  **how: Any,
) -> Array:
  """Convolves as `direct` does, by one product `[B H' W', h w C] x [h w C, F]`.

  A batch of kernels (several runs in one program) makes this a batched matrix product, where a
  convolution becomes a grouped one. Groups of channels are one product each.
  """
  del how  # the layout is always NHWC, HWIO, and nothing is dilated
  height, width, _, features = kernel.shape
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  rows = (x.shape[1] - height) // strides[0] + 1
  cols = (x.shape[2] - width) // strides[1] + 1
  # the last row and column that a window may start from
  below, right = strides[0] * (rows - 1) + 1, strides[1] * (cols - 1) + 1
  windows = [
    x[:, i : i + below : strides[0], j : j + right : strides[1]]
    for i in range(height)
    for j in range(width)
  ]
  if feature_group_count > 1:
    groups = feature_group_count
    parts = jnp.stack(windows, axis=3)
    parts = parts.reshape(*parts.shape[:4], groups, -1)
    weights = kernel.reshape(height * width, -1, groups, features // groups)
    out = jnp.einsum('bijkgc,kcgf->bijgf', parts, weights, precision=precision)
    return out.reshape(*out.shape[:3], features)
  flat = kernel.reshape(-1, features)
  return jnp.matmul(jnp.concatenate(windows, axis=-1), flat, precision=precision)


CONVOLUTIONS: dict[str, Convolution] = {'direct': direct, 'patches': patches}
