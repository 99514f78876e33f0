"""What a router of experts learns: whether a later expert would save the sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def router_targets(logits: Array, labels: Array) -> Array:
  """Returns where experts 1..i together are wrong and 1..j together are right for some j > i.

  Args:
    logits: float `[B, E, C]`, E >= 2.
    labels: integer `[B]`.

  Returns:
    bool `[B, E - 1]`, for i = 1 .. E - 1.

  Reference: Wang, Lian, Miao, Liu, Yu, ICLR 2021.
  """
  # the sum of the logits has the arg max of their mean
  right = jnp.cumsum(logits, axis=1).argmax(-1) == labels[:, None]
  # right by i or some later ensemble; where i is wrong, by a later one
  later = jnp.flip(jnp.cumsum(jnp.flip(right, axis=1), axis=1), axis=1) > 0
  return ~right[:, :-1] & later[:, :-1]


def router_loss(route: Array, logits: Array, labels: Array, positive: float) -> Array:
  """Returns the mean over i of -(p t log sigmoid(r_i) + (1 - t) log(1 - sigmoid(r_i))).

  Args:
    route: float `[B, E - 1]`, the router's logits r.
    logits: float `[B, E, C]`, of the experts; the targets t are made of them.
    labels: integer `[B]`.
    positive: p, the weight of the samples that a later expert saves; they are few.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Wang, Lian, Miao, Liu, Yu, ICLR 2021, with p = 100.
  """
  r = jnp.asarray(route, float)
  on, off = -jax.nn.log_sigmoid(r), -jax.nn.log_sigmoid(-r)
  return jnp.where(router_targets(logits, labels), positive * on, off).mean(axis=1)
