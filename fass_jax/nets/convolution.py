"""Two-dimensional convolutions: XLA's own, and a matrix product over patches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.types import Array

Convolution = Callable[..., Array]
Padding = Sequence[tuple[int, int]]
FEW = 128  # from this number of channels on, XLA's plain loops cost more than a longer compilation


def from_memory(x: Array) -> Array:
  """Returns `x` stored in memory; on a CPU, only control flow stops XLA from recomputing it."""
  # always true, except for nan, and then the run stops anyway
  first = x[(0,) * x.ndim]
  return jax.lax.cond(first == first, lambda v: v, lambda v: -v, x)


def direct(x: Array, kernel: Array, strides: Sequence[int], padding: Padding, **how: Any) -> Array:
  """Convolves `x [B, H, W, C]` with `kernel [h, w, C / groups, F]`, result `[B, H', W', F]`.

  On a CPU this works around two slow paths of XLA. First, the gradient of the kernel starts with a
  transposition, in which XLA would recompute `x` through all residual blocks back to the last
  stored convolution (a ResNet-32 step took 1.6 times as long); so `x` is stored in memory. Second,
  if the kernel is larger than its input or output, XLA uses plain loops, 50 times as slow as
  `patches` (layer 4 of a ResNet at 64 pixels: 3 x 3 over 2 x 2, 512 channels).

  Args:
    x: images or features.
    kernel: the weights.
    strides: strides of both axes.
    padding: padding before and after, for both axes.
    **how: other arguments of `jax.lax.conv_general_dilated`, such as `feature_group_count`.
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
  """Convolves as `direct`, by a matrix product `[B H' W', h w C] x [h w C, F]`.

  Under `vmap` over kernels (several seeds in one program) this becomes a batched matrix product,
  whereas a convolution becomes a slower grouped convolution. Each group of channels is a separate
  product.
  """
  del how  # the layout is always NHWC, HWIO, and there is no dilation
  height, width, _, features = kernel.shape
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  rows = (x.shape[1] - height) // strides[0] + 1
  cols = (x.shape[2] - width) // strides[1] + 1
  # one more than the last row and column at which a window starts
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
