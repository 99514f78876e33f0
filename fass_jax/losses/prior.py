"""The class prior: losses that put its log between the logits, and logits moved to another prior.

The losses are cases of the pairwise margin loss, log(1 + sum_{y' != y} e^{D_yy' + z_y' - z_y}).
With the counts of the data set, pi_c = n_c / N; a class without images leaves the sum, and as a
label, which training never shows, it counts as one image.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import xlogy

from fass_jax.losses.pairwise import additive_margin_loss
from fass_jax.losses.weights import inverse_frequency_weights
from fass_jax.types import Array


def _prior(counts: Array) -> tuple[Array, Array]:
  """Returns pi of the classes as wrong ones, and as labels, where none is 0."""
  n = jnp.asarray(counts, float)
  return n / n.sum(), jnp.maximum(n, 1.0) / n.sum()


def balanced_softmax(logits: Array, labels: Array, counts: Array) -> Array:
  """Returns -log(n_y e^z_y / sum_c n_c e^z_c), the pairwise loss with D_yy' = log(n_y' / n_y).

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class; a class of 0 leaves the sum.

  Returns:
    float32 `[B]` in nats, >= 0; blind to the scale of the counts.

  Reference: Ren, Yu, Sheng, Ma, Zhao, Yi, Li, NeurIPS 2020.
  """
  return two_rate(logits, labels, counts, 1.0, 1.0)


def logit_adjustment(logits: Array, labels: Array, counts: Array, tau: float = 1.0) -> Array:
  """Returns -log softmax(z + tau log pi)_y, the pairwise loss with D_yy' = tau log(pi_y' / pi_y).

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class; for tau > 0 a class of 0 leaves the sum.
    tau: 0 is cross entropy, 1 the balanced softmax.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021.
  """
  return two_rate(logits, labels, counts, tau, tau)


def two_rate(logits: Array, labels: Array, counts: Array, tau1: float, tau2: float) -> Array:
  """Returns the pairwise loss with D_yy' = tau2 log pi_y' - tau1 log pi_y.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class; for tau2 > 0 a class of 0 leaves the sum.
    tau1: >= 0, of the own class: above 0, rare labels have larger margins.
    tau2: >= 0, of the others: above 0, rare classes are pushed down less where they are wrong.
      Both equal are logit adjustment; another pair is not consistent.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021, with the sign that follows
  from their Theorem 1; it is printed the other way round.
  """
  wrong, label = _prior(counts)
  # xlogy: 0 log 0 = 0, so that tau = 0 is cross entropy with empty classes too
  return additive_margin_loss(logits, labels, xlogy(tau2, wrong), -xlogy(tau1, label))


def weighted_logit_adjustment(logits: Array, labels: Array, counts: Array, tau: float) -> Array:
  """Returns a_y log(1 + sum (pi_y' / pi_y)^tau e^{z_y' - z_y}), with a_c ~ pi_c^(tau - 1).

  Consistent for every tau: between cross entropy with inverse frequencies as weights (0) and
  logit adjustment (1). In a run a goes to `reweight`, so that a term can divide by its sum.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class; a class of 0 leaves the sum for tau > 0, and
      has a = 0.
    tau: in [0, 1] as a rule.

  Returns:
    float32 `[B]`, >= 0; a is rescaled so that sum_c a_c = C.

  Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021.
  """
  alpha = inverse_frequency_weights(counts, 1.0 - tau)
  return alpha[labels] * logit_adjustment(logits, labels, counts, tau)


def la_adaptive(logits: Array, labels: Array, counts: Array, factor: float = 1.0) -> Array:
  """Returns the pairwise loss with D_yy' = log(pi_y' / pi_y) + f pi_y^(-1/4).

  Logit adjustment with the margins of LDAM on top: a heuristic, not consistent.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class; a class of 0 leaves the sum.
    factor: f >= 0; 0 is logit adjustment.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021, with f = 1.
  """
  wrong, label = _prior(counts)
  return additive_margin_loss(
    logits, labels, jnp.log(wrong), factor * label**-0.25 - jnp.log(label)
  )


def equalised(logits: Array, labels: Array, counts: Array, share: float, below: float) -> Array:
  """Returns the pairwise loss with D_yy' = log F(pi_y'), F(pi) = 1 - g where pi < l, else 1.

  A rare class is pushed down less by the images of others. Equalisation loss leaves a rare class
  out of a sample's sum with probability g; F is the expectation of that, without its noise.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class, 0 included.
    share: g in [0, 1]; 0 is cross entropy, and with 1 rare classes leave the sum.
    below: l, the share of the training set below which a class is rare.

  Returns:
    float32 `[B]` in nats, >= 0. Not consistent.

  Reference: Tan, Wang, Li, Li, Ouyang, Yin, Yan, CVPR 2020; the form is that of Menon et al., ICLR
  2021. g = 0.9 and l = 0.005, half of 1 / C: Zhang, Wei, Zhou, Wu, AAAI 2021, on CIFAR-100-LT.
  """
  wrong, _ = _prior(counts)
  kept = jnp.where(wrong < below, 1.0 - share, 1.0)
  return additive_margin_loss(logits, labels, jnp.log(kept), jnp.zeros_like(kept))
