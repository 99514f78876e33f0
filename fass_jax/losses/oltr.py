"""The centroid loss of OLTR: features near the memory of their class, away from the others."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


@jax.custom_vjp
def attract(features: Array, memory: Array, labels: Array, mask: Array) -> Array:
  """Returns sum_i ||x_i - M_{y_i}||^2 / (2 B) over the rows of the mask.

  The gradient for M_c is not that of the value but the published one,
  sum over the samples of class c of (M_c - x) / (1 + n_c) / B, with the n_c samples in the batch.

  Args:
    features: float `[B, D]`, x.
    memory: float `[C, D]`, M.
    labels: integer `[B]`, y.
    mask: float `[B]`, 0 excludes a row; B is the sum.
  """
  away = features - memory[labels]
  return (mask * jnp.square(away).sum(-1)).sum() / (2.0 * jnp.maximum(mask.sum(), 1.0))


def _forward(features, memory, labels, mask):
  return attract(features, memory, labels, mask), (features, memory, labels, mask)


def _backward(kept, g):
  features, memory, labels, mask = kept
  rows = jnp.maximum(mask.sum(), 1.0)
  away = mask[:, None] * (features - memory[labels])
  counts = jnp.zeros(len(memory)).at[labels].add(mask)
  pull = jnp.zeros_like(memory).at[labels].add(-away)
  return g * away / rows, g * pull / (1.0 + counts)[:, None] / rows, None, None


attract.defvjp(_forward, _backward)


def centroid_loss(
  features: Array,
  memory: Array,
  labels: Array,
  margin: float = 10.0,
  factor: float = 0.01,
  mask: Array | None = None,
) -> Array:
  """Returns attract + factor max(0, margin - sum_i sum_{c != y_i} ||x_i - M_c||^2 / (B C)).

  Args:
    features: float `[B, D]`, x.
    memory: float `[C, D]`, M, one vector per class.
    labels: integer `[B]`, y.
    margin: the mean squared distance to other classes from which on they do not repel.
    factor: weight of the second part.
    mask: `[B]`, 0 excludes a row; None: all count.

  Returns:
    float32 scalar, >= 0; for the gradient see `attract`.

  Reference: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, arXiv:1904.05160.
  """
  x, m = jnp.asarray(features, float), jnp.asarray(memory, float)
  on = jnp.ones(len(x)) if mask is None else jnp.asarray(mask, float)
  x = jnp.where(on[:, None] > 0, x, 0.0)  # a masked row may be inf or nan
  squared = jnp.square(x[:, None, :] - m[None, :, :]).sum(-1)
  others = on[:, None] * (1.0 - jax.nn.one_hot(labels, len(m)))
  mean = (others * squared).sum() / (jnp.maximum(on.sum(), 1.0) * len(m))
  return attract(x, m, labels, on) + factor * jnp.maximum(0.0, margin - mean)
