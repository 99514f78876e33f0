"""The memory of OLTR: features are completed by class means, and classified by their direction."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array

REACH = 10.0  # as in the published program; the paper divides by the distance alone
LEAST = 1e-6  # distance: a feature may be a class mean


def reachability(features: Array, memory: Array) -> Array:
  """Returns 10 / min_c ||x - M_c||, which is small for images of no known class.

  Args:
    features: float `[B, D]`, x.
    memory: float `[C, D]`, M.

  Returns:
    float32 `[B]`; the distance is at least 1e-6.
  """
  squared = jnp.square(features[:, None, :] - memory[None, :, :]).sum(-1).min(axis=1)
  # bounded before the root, whose gradient at 0 is infinite
  return REACH * jax.lax.rsqrt(jnp.maximum(squared, LEAST**2))


def embed(
  features: Array, memory: Array, hallucinator: tuple[Array, Array], selector: tuple[Array, Array]
) -> Array:
  """Returns r (x + e o) with o = softmax(x W_h + b_h) M and e = tanh(x W_s + b_s).

  Args:
    features: float `[B, D]`, x.
    memory: float `[C, D]`, M, one vector per class.
    hallucinator: W_h `[D, C]` and b_h `[C]`.
    selector: W_s `[D, D]` and b_s `[D]`.

  Returns:
    float32 `[B, D]`; r is `reachability`.

  Reference: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, arXiv:1904.05160.
  """
  x, m = jnp.asarray(features, float), jnp.asarray(memory, float)
  shares = jax.nn.softmax(x @ hallucinator[0] + hallucinator[1][None, :])
  chosen = jnp.tanh(x @ selector[0] + selector[1][None, :])
  return reachability(x, m)[:, None] * (x + chosen * (shares @ m))


def squashed_cosine(features: Array, weights: Array, scale: float = 16.0) -> Array:
  """Returns scale x / (1 + ||x||) . w_c / ||w_c||.

  Args:
    features: float `[B, D]`, x.
    weights: float `[C, D]`, w.
    scale: of the logits.

  Returns:
    float32 `[B, C]`, in (-scale, scale).

  Reference: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, arXiv:1904.05160.
  """
  x, w = jnp.asarray(features, float), jnp.asarray(weights, float)
  w = w * jax.lax.rsqrt(jnp.maximum(jnp.square(w).sum(-1, keepdims=True), 1e-24))
  # bounded from 0, where the root has an infinite gradient
  length = jnp.sqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))
  return scale * (x / (1.0 + length)) @ w.T
