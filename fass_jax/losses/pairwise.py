"""The pairwise margin loss; cross entropy, LDAM and logit adjustment are special cases."""

from __future__ import annotations

import jax.numpy as jnp

from fass_jax.losses.softmax import cross_entropy
from fass_jax.types import Array


def pairwise_rows(logits: Array, labels: Array, margins: Array) -> Array:
  """Returns log(1 + sum_{y' != y} e^{m_y' + z_y' - z_y}), with one row of margins m per sample.

  Args:
    logits: float `[B, C]`, any precision.
    labels: integer `[B]`, in 0 .. C-1.
    margins: float `[B, C]` or `[1, C]`, m < inf; the label's own margin is ignored, and -inf
      removes a class from the sum.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314, Eq. (11).
  """
  own = labels[:, None] == jnp.arange(logits.shape[-1])[None, :]
  # through log softmax(z + m), so that no exponential overflows
  return cross_entropy(jnp.asarray(logits, float) + jnp.where(own, 0.0, margins), labels)


def pairwise_margin_loss(logits: Array, labels: Array, weight: Array, margin: Array) -> Array:
  """Returns a_y log(1 + sum_{y' != y} e^{D_yy' + z_y' - z_y}).

  The loss is consistent for the balanced error if a_y = d_y / pi_y and D_yy' = log(d_y' / d_y) for
  some d > 0. Weights that correct the prior and margins that correct it too are not consistent
  together.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`, in 0 .. C-1.
    weight: float `[C]`, a >= 0.
    margin: float `[C, C]`, D < inf; the diagonal is ignored.

  Returns:
    float32 `[B]`, >= 0.

  Reference: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314, Eq. (11) and
  Theorem 1.
  """
  return weight[labels] * pairwise_rows(logits, labels, margin[labels])


def additive_margin_loss(logits: Array, labels: Array, others: Array, own: Array) -> Array:
  """Returns the pairwise loss with a = 1 and D_yy' = r_y' + s_y, without a `[C, C]` array.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`, in 0 .. C-1.
    others: float `[C]`, r, the margin added to each class where it is not the label; -inf removes
      the class from the sum.
    own: float `[C]`, s, the margin of each class where it is the label; finite.

  Returns:
    float32 `[B]` in nats, >= 0.
  """
  return pairwise_rows(logits, labels, others[None, :] + own[labels][:, None])


def weighted_cross_entropy(logits: Array, labels: Array, weight: Array) -> Array:
  """Returns -a_y log softmax(z)_y, the pairwise loss without margins.

  A run passes the weights to `reweight` instead, so that a term can divide by their sum.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    weight: float `[C]`, a >= 0: 1 / pi_c is balanced cross entropy.

  Returns:
    float32 `[B]`, >= 0.
  """
  return weight[labels] * pairwise_rows(logits, labels, jnp.zeros((1, logits.shape[-1])))
