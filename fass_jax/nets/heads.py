"""Classifier heads: features `[B, D]` to logits `[B, C]` at the scale used at test time."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fass_jax.nets.layers import he_normal, in_float32, uniform, wide
from fass_jax.nets.norm import BatchNorm
from fass_jax.types import Outputs


def prior_bias(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
  """Returns the bias -log(C - 1) per class, so that the initial sigmoid is 1/C.

  With this bias, the C - 1 negative classes of a sigmoid loss do not dominate the first steps.

  Reference: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, arXiv:1901.05555.
  """
  del key
  return jnp.full(shape, -math.log(max(shape[-1] - 1, 1)), dtype)


def class_scaled(head: nn.Module, logits: jax.Array) -> jax.Array:
  """Multiplies logits `[B, C]` by learned factors: z_c = s_c z'_c (learnable weight scaling, LWS).

  The factors are the parameter `class_scale` of the head and start at 1.

  Reference: Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition,
  arXiv:1910.09217.
  """
  scale = head.param('class_scale', nn.initializers.ones, logits.shape[-1:], logits.dtype)
  return logits * scale[None, :]


class LinearHead(nn.Module):
  """z = x W + b with W ~ N(0, sqrt(2 / D)) and b ~ U(-1/sqrt(D), 1/sqrt(D)), as in CIFAR-LT code.

  With `torch`, W ~ U(-1/sqrt(D), 1/sqrt(D)) as in PyTorch's default, usual for ResNets on large
  images. With `prior`, b is `prior_bias`. With `scaled`, `class_scaled` is applied to z.
  """

  num_classes: int
  precision: jax.lax.Precision | None = None
  torch: bool = False
  prior: bool = False
  scaled: bool = False

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
    """Returns logits `[B, C]`."""
    small = uniform(features.shape[-1] ** -0.5)
    logits = nn.Dense(
      self.num_classes,
      kernel_init=small if self.torch else he_normal,
      bias_init=prior_bias if self.prior else small,
      param_dtype=wide(features.dtype),
      precision=self.precision,
      name='linear',
    )(features)
    return class_scaled(self, logits) if self.scaled else logits


class NoiseHead(nn.Module):
  """A linear head with one more parameter: the logarithm of the noise of the labels, from 0.

  A loss reads it as `extra['noise']`; predictions do not depend on it.

  Reference: Ren et al., Balanced MSE for Imbalanced Visual Regression, arXiv:2203.16427.
  """

  head: nn.Module

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> Outputs:
    """Returns the logits `[B, 1, C]` and the noise, a scalar."""
    logits = self.head(features, train)
    noise = self.param('noise', nn.initializers.zeros, (), logits.dtype)
    return Outputs(logits[:, None, :], features, extra={'noise': noise})


@in_float32
def _unit_columns(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
  w = jax.random.uniform(key, shape, dtype, -1.0, 1.0)
  return w / jnp.linalg.norm(w, axis=0, keepdims=True)


class CosineHead(nn.Module):
  """z_c = scale * cos(x, w_c), without bias; only this head applies the scale to the logits.

  With `scaled`, `class_scaled` is applied to z.

  Reference: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
  arXiv:1906.07413.
  """

  num_classes: int
  scale: float = 30.0
  precision: jax.lax.Precision | None = None
  scaled: bool = False

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
    """Returns logits `[B, C]` in [-scale, scale]."""
    shape = (features.shape[-1], self.num_classes)
    w = self.param('kernel', _unit_columns, shape, wide(features.dtype))
    # bound the norm away from 0, where its gradient is infinite
    x = features * jax.lax.rsqrt(jnp.maximum(jnp.square(features).sum(-1, keepdims=True), 1e-24))
    w = w * jax.lax.rsqrt(jnp.maximum(jnp.square(w).sum(0, keepdims=True), 1e-24))
    logits = self.scale * jnp.matmul(x, w, precision=self.precision)
    return class_scaled(self, logits) if self.scaled else logits


def running_mean(logits: jax.Array) -> jax.Array:
  """Returns the mean logits of experts 1, 1..2, .., 1..E: `[B, E, C]` -> `[B, E, C]`."""
  number = jnp.arange(1, logits.shape[1] + 1, dtype=logits.dtype)
  return jnp.cumsum(logits, axis=1) / number[None, :, None]


class Router(nn.Module):
  """Decides after each expert but the last whether the next expert is used too.

  The input for expert i is: a hidden ReLU layer of its own on its features (unit norm),
  concatenated with the largest logits of the mean of experts 1..i. The last layer is shared.

  Reference: Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809 (expert assignment).
  """

  hidden: int = 16
  choices: int = 30  # number of largest logits, at most C
  precision: jax.lax.Precision | None = None

  def _dense(self, size: int, x: jax.Array, name: str) -> jax.Array:
    return nn.Dense(
      size,
      kernel_init=he_normal,
      bias_init=uniform(x.shape[-1] ** -0.5),
      param_dtype=wide(x.dtype),
      precision=self.precision,
      name=name,
    )(x)

  @nn.compact
  def __call__(self, features: jax.Array, logits: jax.Array) -> jax.Array:
    """Maps features `[B, E, D]`, logits `[B, E, C]` to `[B, E - 1]`; > 0: use the next expert."""
    x = features * jax.lax.rsqrt(jnp.maximum(jnp.square(features).sum(-1, keepdims=True), 1e-24))
    largest = jax.lax.top_k(running_mean(logits)[:, :-1], min(self.choices, logits.shape[-1]))[0]
    own = [
      jax.nn.relu(self._dense(self.hidden, x[:, e], f'expert{e}')) for e in range(x.shape[1] - 1)
    ]
    both = jnp.concatenate([largest, jnp.stack(own, axis=1)], axis=-1)
    return self._dense(1, both, 'shared')[..., 0]


class ExpertHeads(nn.Module):
  """One head per expert, and optionally a router."""

  heads: Sequence[nn.Module]
  router: Router | None = None

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> Any:
    """Maps features `[B, E, D]` to logits `[B, E, C]`, or to Outputs with a router."""
    logits = jnp.stack([h(features[:, e], train) for e, h in enumerate(self.heads)], axis=1)
    if self.router is None:
      return logits
    return Outputs(logits, features, route=self.router(features, logits))


class _Projection(nn.Module):
  """Linear, batch normalisation, ReLU, linear; the losses normalise the result."""

  hidden: int
  size: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    dense = functools.partial(nn.Dense, kernel_init=he_normal, param_dtype=wide(x.dtype))
    x = dense(self.hidden, name='in')(x)
    x = jax.nn.relu(BatchNorm(name='bn')(x, train))
    return dense(self.size, name='out')(x)


class ContrastiveHead(nn.Module):
  """A head with embeddings of images and one prototype per class, for a contrastive loss.

  The embeddings are a projection of the features; the prototypes are a second projection of the
  classifier's weight vectors. Neither is normalised here: some losses read distances.

  Reference: Zhu et al., Balanced Contrastive Learning for Long-Tailed Visual Recognition,
  arXiv:2207.09052.
  """

  head: nn.Module
  size: int
  hidden: int = 512

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> Any:
    """Returns logits `[B, C]`, embedding `[B, size]`, prototypes `[C, size]`."""
    logits = self.head(features, train)
    inner = self.head.variables['params']
    columns = (inner['kernel'] if 'kernel' in inner else inner['linear']['kernel']).T
    embedding = _Projection(self.hidden, self.size, name='image')(features, train)
    prototypes = _Projection(self.hidden, self.size, name='prototype')(columns, train)
    return logits, embedding, prototypes
