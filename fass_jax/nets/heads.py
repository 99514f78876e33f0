"""Classifier heads: features `[B, D]` to logits `[B, C]` at the scale used at test time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from fass_jax.nets.resnet_cifar import he_normal


def _uniform_bias(fan_in: int):
  bound = fan_in**-0.5
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class LinearHead(nn.Module):
  """z = x W + b with W ~ N(0, sqrt(2 / D)) and b ~ U(-1/sqrt(D), 1/sqrt(D)), as the field's."""

  num_classes: int
  precision: jax.lax.Precision | None = None

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    """Returns logits `[B, C]`."""
    return nn.Dense(
      self.num_classes,
      kernel_init=he_normal,
      bias_init=_uniform_bias(features.shape[-1]),
      precision=self.precision,
      name='linear',
    )(features)


def _unit_columns(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
  w = jax.random.uniform(key, shape, dtype, -1.0, 1.0)
  return w / jnp.linalg.norm(w, axis=0, keepdims=True)


class CosineHead(nn.Module):
  """z_c = scale * cos(x, w_c), without bias; the scale is applied here and nowhere else.

  Reference: Cao, Wei, Gaidon, Arechiga, Ma, NeurIPS 2019.
  """

  num_classes: int
  scale: float = 30.0
  precision: jax.lax.Precision | None = None

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    """Returns logits `[B, C]` in [-scale, scale]."""
    w = self.param('kernel', _unit_columns, (features.shape[-1], self.num_classes), jnp.float32)
    # the norm is kept off zero, where its gradient is infinite
    x = features * jax.lax.rsqrt(jnp.maximum(jnp.square(features).sum(-1, keepdims=True), 1e-24))
    w = w * jax.lax.rsqrt(jnp.maximum(jnp.square(w).sum(0, keepdims=True), 1e-24))
    return self.scale * jnp.matmul(x, w, precision=self.precision)
