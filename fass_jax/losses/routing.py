"""Targets and loss for the router of experts: whether later experts correct the prediction."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def router_targets(logits: Array, labels: Array) -> Array:
  """Returns True where the mean of experts 1..i is wrong but that of 1..j is right for some j > i.

  Args:
    logits: float `[B, E, C]`, E >= 2.
    labels: integer `[B]`.

  Returns:
    bool `[B, E - 1]`, for i = 1 .. E - 1.

  Reference: Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809.
  """
  # the sum of the logits has the same arg max as their mean
  right = jnp.cumsum(logits, axis=1).argmax(-1) == labels[:, None]
  # True where ensemble i or a later one is right; the last line excludes i itself
  later = jnp.flip(jnp.cumsum(jnp.flip(right, axis=1), axis=1), axis=1) > 0
  return ~right[:, :-1] & later[:, :-1]


def router_loss(route: Array, logits: Array, labels: Array, positive: float) -> Array:
  """Returns the mean over i of -(p t log sigmoid(r_i) + (1 - t) log(1 - sigmoid(r_i))).

  Args:
    route: float `[B, E - 1]`, the router's logits r.
    logits: float `[B, E, C]`, the experts' logits; `router_targets` computes t from them.
    labels: integer `[B]`.
    positive: p, the weight of the positive targets, which are rare.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809 (p = 100).
  """
  r = jnp.asarray(route, float)
  on, off = -jax.nn.log_sigmoid(r), -jax.nn.log_sigmoid(-r)
  return jnp.where(router_targets(logits, labels), positive * on, off).mean(axis=1)
