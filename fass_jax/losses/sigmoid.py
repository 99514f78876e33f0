"""A yes or no for every class: binary cross entropy, and the focal loss of detection."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def _signed(logits: Array, labels: Array) -> tuple[Array, Array]:
  """Returns s z with s = 1 for the own class and -1 for the others, and where s = 1."""
  own = labels[:, None] == jnp.arange(logits.shape[-1])[None, :]
  z = jnp.asarray(logits, float)
  return jnp.where(own, z, -z), own


def sigmoid_loss(logits: Array, labels: Array) -> Array:
  """Returns -sum_c log sigmoid(s_c z_c), with s = 1 for the own class and -1 for the others.

  Args:
    logits: float `[B, C]`, any precision. A head whose bias begins at -log(C - 1) keeps the C - 1
      negatives from filling the first steps.
    labels: integer `[B]`.

  Returns:
    float32 `[B]` in nats, >= 0: a sum over the classes, so the mean over a batch is that of
    positives.

  Reference: Cui, Jia, Lin, Song, Belongie, CVPR 2019.
  """
  signed, _ = _signed(logits, labels)
  return -jax.nn.log_sigmoid(signed).sum(-1)


def focal_sigmoid(logits: Array, labels: Array, gamma: float, alpha: float | None = None) -> Array:
  """Returns -sum_c a_c (1 - p_c)^gamma log p_c, with p_c = sigmoid(s_c z_c); not the softmax form.

  Args:
    logits: float `[B, C]`, any precision.
    labels: integer `[B]`.
    gamma: >= 0; 0 without alpha is `sigmoid_loss`.
    alpha: in (0, 1), a of the own class, with 1 - alpha for the others; None: 1 for all.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Lin, Goyal, Girshick, He, Dollar, ICCV 2017 (gamma 2, alpha 0.25); Cui et al., CVPR
  2019 (without alpha, whose place the class weights take).
  """
  signed, own = _signed(logits, labels)
  # 1 - p = sigmoid(-s z), in logs: a wrong positive far out keeps its factor of 1
  values = -jnp.exp(gamma * jax.nn.log_sigmoid(-signed)) * jax.nn.log_sigmoid(signed)
  return (values if alpha is None else jnp.where(own, alpha, 1.0 - alpha) * values).sum(-1)
