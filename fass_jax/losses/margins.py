"""Label-distribution-aware margins: the rarer the class, the larger its margin."""

from __future__ import annotations

import jax.numpy as jnp

from fass_jax.losses.pairwise import additive_margin_loss
from fass_jax.types import Array


def ldam_margins(counts: Array, max_margin: float = 0.5) -> Array:
  """Returns m_c = max_margin * (min_k n_k / n_c)^(1/4): n^(-1/4), the rarest at `max_margin`.

  Args:
    counts: `[C]`, training images of each class; a class of 0 has margin 0.
    max_margin: >= 0, in units of the cosine.

  Returns:
    float32 `[C]`, in [0, max_margin].

  Reference: Cao, Wei, Gaidon, Arechiga, Ma, NeurIPS 2019.
  """
  n = jnp.asarray(counts, float)
  rarest = jnp.where(n > 0, n, jnp.inf).min()
  return jnp.where(n > 0, max_margin * (rarest / jnp.maximum(n, 1.0)) ** 0.25, 0.0)


def ldam(
  logits: Array, labels: Array, counts: Array, scale: float, max_margin: float = 0.5
) -> Array:
  """Returns LDAM: -log softmax(z - s m_y onehot(y))_y, the pairwise loss with D_yy' = s m_y.

  Args:
    logits: float `[B, C]`, z = s cos(x, w_c): a cosine head has applied the scale, and nothing
      is scaled here but the margin.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class.
    scale: s of the head, > 0.
    max_margin: margin of the rarest class; 0 is cross entropy.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Cao, Wei, Gaidon, Arechiga, Ma, NeurIPS 2019.
  """
  margins = scale * ldam_margins(counts, max_margin)
  return additive_margin_loss(logits, labels, jnp.zeros_like(margins), margins)
