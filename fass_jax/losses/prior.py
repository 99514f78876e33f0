"""Losses that add the log class prior to the logits; prediction uses the logits without it."""

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
  return log_loss(logits.astype(float) + log_n[None, :], labels)


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
  return log_loss(logits.astype(float) + xlogy(tau, n / n.sum())[None, :], labels)
