"""Focal loss: examples that the network has right count less."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.losses.softmax import log_loss
from fass_jax.types import Array


def focal(logits: Array, labels: Array, gamma: float) -> Array:
  """Returns -(1 - p_y)^gamma log p_y with p = softmax(z); not the sigmoid form of detection.

  Args:
    logits: float `[B, C]`, C >= 2.
    labels: integer `[B]`.
    gamma: >= 0, a Python float; 0 is cross entropy.

  Returns:
    float32 `[B]` in nats, >= 0. Class weights multiply it from outside: inside the power they
    would change what counts as right.

  Reference: Lin, Goyal, Girshick, He, Dollar, ICCV 2017.
  """
  if gamma == 0:
    return log_loss(logits, labels)
  log_p = jax.nn.log_softmax(jnp.asarray(logits, float))
  others = labels[:, None] != jnp.arange(log_p.shape[-1])[None, :]
  # log(1 - p_y) as a sum over the others: 1 - p rounds to 0 or below, where the power is nan
  log_wrong = jax.nn.logsumexp(log_p, axis=-1, where=others)
  return jnp.exp(gamma * log_wrong) * log_loss(logits, labels)
