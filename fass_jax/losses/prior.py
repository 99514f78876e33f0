"""The class prior: losses that add its log to the logits, and logits moved to another prior."""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import xlogy

from fass_jax.losses.softmax import log_loss
from fass_jax.types import Array


def balanced_softmax(logits: Array, labels: Array, counts: Array) -> Array:
  """Returns -log(n_y e^z_y / sum_c n_c e^z_c).

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class; a class of 0 leaves the sum.

  Returns:
    float32 `[B]` in nats, >= 0; blind to the scale of the counts.

  Reference: Ren, Yu, Sheng, Ma, Zhao, Yi, Li, NeurIPS 2020.
  """
  log_n = jnp.log(jnp.asarray(counts, float))
  return log_loss(jnp.asarray(logits, float) + log_n[None, :], labels)


def logit_adjustment(logits: Array, labels: Array, counts: Array, tau: float = 1.0) -> Array:
  """Returns -log softmax(z + tau log pi)_y with pi_c = n_c / N.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class; for tau > 0 a class of 0 leaves the sum.
    tau: 0 is cross entropy, 1 the balanced softmax.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021.
  """
  n = jnp.asarray(counts, float)
  # xlogy: 0 log 0 = 0, so that tau = 0 is cross entropy with empty classes too
  return log_loss(jnp.asarray(logits, float) + xlogy(tau, n / n.sum())[None, :], labels)


def post_hoc(logits: Array, implied: Array, wanted: Array) -> Array:
  """Returns z_c - log pi_c + log pi'_c, the logits under another class prior.

  Where softmax(z) is p(y | x) for classes that come with prior pi, the softmax of the result is
  p(y | x) for classes that come with pi', if nothing but the prior differs.

  Args:
    logits: float `[B, C]`, z.
    implied: `[C]`, > 0, proportional to pi, the prior that z implies: the training counts after
      cross-entropy, ones after a loss that takes the prior out itself.
    wanted: `[C]`, >= 0 and not all 0, proportional to pi'.

  Returns:
    float32 `[B, C]`: z itself where both are the same, -inf for a class with pi' = 0.

  Reference: Saerens, Latinne, Decaestecker, Neural Computation 2002; Menon, Jayasumana, Rawat,
  Jain, Veit, Kumar, ICLR 2021 (pi' uniform); Hong, Han, Choi, Seo, Kim, Chang, CVPR 2021.
  """
  old, new = jnp.asarray(implied, float), jnp.asarray(wanted, float)
  shift = jnp.log(new / new.sum()) - jnp.log(old / old.sum())
  return jnp.asarray(logits, float) + shift[None, :]
