"""Balanced softmax over target and auxiliary classes, in which neighbours compete less."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def ns_loss(
  logits: Array, labels: Array, counts: Array, neighbours: Array, silence: float
) -> Array:
  """Returns -log(n_y e^z_y / sum_j s_yj n_j e^z_j), with s = `silence` for the neighbours of y.

  For all other classes, and for y itself, s is 1. A target class and its fine-grained auxiliary
  neighbours look alike: pushed apart as strongly as other classes, they would unlearn what they
  share.

  Args:
    logits: float `[B, K]`, z, of the T target and the A auxiliary classes; K = T + A.
    labels: integer `[B]`, y.
    counts: `[K]`, n, training images per class; an empty class is not in the sum.
    neighbours: bool `[K, K]`, True where class j is a neighbour of class y.
    silence: in [0, 1]; 1 is the balanced softmax, 0 leaves the neighbours out.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: the form is derived from a description of arXiv:2410.15980 (category extrapolation),
  which has no code.
  """
  z, n = jnp.asarray(logits, float), jnp.asarray(counts, float)
  own = jax.nn.one_hot(labels, z.shape[-1], dtype=bool)
  # the label counts as one image where its class is empty, as in losses/prior.py
  weight = jnp.where(own, jnp.maximum(n, 1.0)[None, :], n[None, :])
  weight = jnp.where(jnp.asarray(neighbours, bool)[labels] & ~own, silence * weight, weight)
  # relative to the label: exact where the logits are large, and never below 0
  difference = z - jnp.take_along_axis(z, labels[:, None], axis=-1)
  weight = weight / jnp.maximum(n, 1.0)[labels][:, None]
  # where: a class without weight has neither value nor gradient
  return jax.nn.logsumexp(difference, axis=-1, b=weight, where=weight > 0)
