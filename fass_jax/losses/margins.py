"""Label-distribution-aware margins (LDAM): rare classes have larger margins."""

from __future__ import annotations

import jax.numpy as jnp

from fass_jax.losses.pairwise import additive_margin_loss
from fass_jax.types import Array


def ldam_margins(counts: Array, max_margin: float = 0.5) -> Array:
  """Returns m_c = max_margin * (min_k n_k / n_c)^(1/4), so the rarest class has `max_margin`.

  Args:
    counts: `[C]`, training images per class; an empty class has margin 0.
    max_margin: >= 0, in units of the cosine.

  Returns:
    float32 `[C]`, in [0, max_margin].

  Reference: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
  arXiv:1906.07413.
  """
  n = jnp.asarray(counts, float)
  rarest = jnp.where(n > 0, n, jnp.inf).min()
  return jnp.where(n > 0, max_margin * (rarest / jnp.maximum(n, 1.0)) ** 0.25, 0.0)


def ldam(
  logits: Array, labels: Array, counts: Array, scale: float, max_margin: float = 0.5
) -> Array:
  """Returns LDAM: -log softmax(z - s m_y onehot(y))_y, the pairwise loss with D_yy' = s m_y.

  Args:
    logits: float `[B, C]`, z = s cos(x, w_c); the cosine head applies the scale s to the logits,
      this function applies it to the margins only.
    labels: integer `[B]`.
    counts: `[C]`, training images per class.
    scale: s of the cosine head, > 0.
    max_margin: margin of the rarest class; 0 is cross entropy.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
  arXiv:1906.07413.
  """
  margins = scale * ldam_margins(counts, max_margin)
  return additive_margin_loss(logits, labels, jnp.zeros_like(margins), margins)
