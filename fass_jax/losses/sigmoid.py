"""One-vs-rest losses: binary cross entropy per class, and its focal form."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def _signed(logits: Array, labels: Array) -> tuple[Array, Array]:
  """Returns s z with s = 1 for the label's class and -1 for the others, and the mask s = 1."""
  own = labels[:, None] == jnp.arange(logits.shape[-1])[None, :]
  z = jnp.asarray(logits, float)
  return jnp.where(own, z, -z), own


def sigmoid_loss(logits: Array, labels: Array) -> Array:
  """Returns -sum_c log sigmoid(s_c z_c), with s = 1 for the label's class and -1 for the others.

  Args:
    logits: float `[B, C]`, any precision. With an initial bias of -log(C - 1) the C - 1 negative
      classes do not dominate the first steps.
    labels: integer `[B]`.

  Returns:
    float32 `[B]` in nats, >= 0, summed over the classes; the mean over a batch is therefore a mean
    per positive.

  Reference: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, arXiv:1901.05555.
  """
  signed, _ = _signed(logits, labels)
  return -jax.nn.log_sigmoid(signed).sum(-1)


def focal_sigmoid(logits: Array, labels: Array, gamma: float, alpha: float | None = None) -> Array:
  """Returns -sum_c a_c (1 - p_c)^gamma log p_c, with p_c = sigmoid(s_c z_c) as in `sigmoid_loss`.

  Args:
    logits: float `[B, C]`, any precision.
    labels: integer `[B]`.
    gamma: >= 0; 0 without alpha is `sigmoid_loss`.
    alpha: in (0, 1): a = alpha for the label's class, 1 - alpha for the others; None: a = 1.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002 (gamma = 2, alpha =
  0.25); Cui et al., Class-Balanced Loss Based on Effective Number of Samples, arXiv:1901.05555
  (class weights instead of alpha).
  """
  signed, own = _signed(logits, labels)
  # in logs, 1 - p = sigmoid(-s z): the factor stays 1 even for very wrong logits
  values = -jnp.exp(gamma * jax.nn.log_sigmoid(-signed)) * jax.nn.log_sigmoid(signed)
  return (values if alpha is None else jnp.where(own, alpha, 1.0 - alpha) * values).sum(-1)
