"""Adaptive logit adjustment: larger margins for rare classes and hard samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.losses.softmax import cross_entropy
from fass_jax.types import Array


def adaptive_adjustment(logits: Array, labels: Array, counts: Array, scale: float) -> Array:
  """Returns -log softmax(z - s d q onehot(y))_y, with d = (1 - cos_y) / 2, q = 1 / log2(1 + r).

  With r = n_y / min_k n_k, so q = 1 for the rarest class. No gradient flows through d.

  Args:
    logits: float `[B, C]`, z = s cos(x, w_c) of a cosine head.
    labels: integer `[B]`.
    counts: `[C]`, training images per class, all above 0.
    scale: s of the cosine head, > 0.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Zhao et al., Adaptive Logit Adjustment Loss for Long-Tailed Visual Recognition,
  arXiv:2104.06094.
  """
  z, n = jnp.asarray(logits, float), jnp.asarray(counts, float)
  own = jax.nn.one_hot(labels, z.shape[-1], dtype=float)
  hard = jax.lax.stop_gradient((1.0 - z / scale) / 2.0)
  rare = 1.0 / jnp.log2(1.0 + n / n.min())
  return cross_entropy(z - scale * own * hard * rare[None, :], labels)
