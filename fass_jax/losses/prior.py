"""Losses with margins from the class prior: logit adjustment and its relatives.

Each loss is a pairwise margin loss, log(1 + sum_{y' != y} e^{D_yy' + z_y' - z_y}), with the class
prior pi_c = n_c / N of the training set. An empty class is not in the sum; where it is the label
(never in training), it counts as one image.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from fass_jax.losses.pairwise import additive_margin_loss
from fass_jax.losses.weights import inverse_frequency_weights
from fass_jax.types import Array


def _prior(counts: Array) -> tuple[Array, Array]:
  """Returns pi for the classes in the sum, and pi for labels (an empty class counts as 1 image)."""
  n = jnp.asarray(counts, float)
  return n / n.sum(), jnp.maximum(n, 1.0) / n.sum()


def balanced_softmax(logits: Array, labels: Array, counts: Array) -> Array:
  """Returns -log(n_y e^z_y / sum_c n_c e^z_c), the pairwise loss with D_yy' = log(n_y' / n_y).

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images per class; an empty class is not in the sum.

  Returns:
    float32 `[B]` in nats, >= 0; a common factor of the counts has no effect.

  Reference: Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition,
  arXiv:2007.10740.
  """
  return two_rate(logits, labels, counts, 1.0, 1.0)


def logit_adjustment(logits: Array, labels: Array, counts: Array, tau: float = 1.0) -> Array:
  """Returns -log softmax(z + tau log pi)_y, the pairwise loss with D_yy' = tau log(pi_y' / pi_y).

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images per class; for tau > 0 an empty class is not in the sum.
    tau: 0 is cross entropy, 1 the balanced softmax.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314.
  """
  return two_rate(logits, labels, counts, tau, tau)


def soft_logit_adjustment(logits: Array, targets: Array, counts: Array, tau: float = 1.0) -> Array:
  """Returns -sum_c t_c log softmax(z + tau log pi)_c, which is `logit_adjustment` for one class.

  Args:
    logits: float `[B, C]`.
    targets: float `[B, C]`, t >= 0; each row sums to 1.
    counts: `[C]`, training images per class; for tau > 0 an empty class is in the sum only where
      it has a target, as one image.
    tau: >= 0.

  Returns:
    float32 `[B]` in nats.

  Reference: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314.
  """
  wrong, label = _prior(counts)
  z, t = jnp.asarray(logits, float), jnp.asarray(targets, float)
  own = z + xlogy(tau, label)[None, :]
  every = jnp.where(t > 0, own, z + xlogy(tau, wrong)[None, :])
  return jax.nn.logsumexp(every, axis=1) - (t * own).sum(axis=1)


def two_rate(logits: Array, labels: Array, counts: Array, tau1: float, tau2: float) -> Array:
  """Returns the pairwise loss with D_yy' = tau2 log pi_y' - tau1 log pi_y.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images per class; for tau2 > 0 an empty class is not in the sum.
    tau1: >= 0, power for the label's class; above 0, rare labels have larger margins.
    tau2: >= 0, power for the other classes; above 0, rare classes are suppressed less where they
      are not the label. tau1 = tau2 is logit adjustment; unequal values are not consistent.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314. The sign of D
  follows from Theorem 1; the paper prints the opposite sign.
  """
  wrong, label = _prior(counts)
  # xlogy: 0 log 0 = 0, so that tau = 0 is cross entropy with empty classes too
  return additive_margin_loss(logits, labels, xlogy(tau2, wrong), -xlogy(tau1, label))


def weighted_logit_adjustment(logits: Array, labels: Array, counts: Array, tau: float) -> Array:
  """Returns a_y log(1 + sum (pi_y' / pi_y)^tau e^{z_y' - z_y}), with a_c ~ pi_c^(tau - 1).

  The loss is consistent for every tau. tau = 0 is cross entropy with inverse-frequency weights, tau
  = 1 is logit adjustment. A run passes a to `reweight`, so that a term can divide by its sum.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images per class; an empty class has a = 0, and for tau > 0 it is not
      in the sum.
    tau: usually in [0, 1].

  Returns:
    float32 `[B]`, >= 0; a is rescaled so that sum_c a_c = C.

  Reference: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314.
  """
  alpha = inverse_frequency_weights(counts, 1.0 - tau)
  return alpha[labels] * logit_adjustment(logits, labels, counts, tau)


def la_adaptive(logits: Array, labels: Array, counts: Array, factor: float = 1.0) -> Array:
  """Returns the pairwise loss with D_yy' = log(pi_y' / pi_y) + f pi_y^(-1/4).

  This adds LDAM's margins to logit adjustment; it is a heuristic and not consistent.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images per class; an empty class is not in the sum.
    factor: f >= 0; 0 is logit adjustment.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314 (f = 1).
  """
  wrong, label = _prior(counts)
  return additive_margin_loss(
    logits, labels, jnp.log(wrong), factor * label**-0.25 - jnp.log(label)
  )


def equalised(logits: Array, labels: Array, counts: Array, share: float, below: float) -> Array:
  """Returns the pairwise loss with D_yy' = log F(pi_y'), F(pi) = 1 - g where pi < l, else 1.

  Images of other classes suppress a rare class less. Equalization loss drops a rare class from a
  sample's sum with probability g; this function uses the expectation F instead, without the noise.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images per class; 0 is allowed.
    share: g in [0, 1]; 0 is cross entropy, and 1 removes rare classes from the sum.
    below: l; a class is rare if its share of the training set is smaller.

  Returns:
    float32 `[B]` in nats, >= 0. The loss is not consistent.

  Reference: Tan et al., Equalization Loss for Long-Tailed Object Recognition, arXiv:2003.05176; the
  form with F: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314. g = 0.9 and
  l = 0.005 = 1 / (2 C) on CIFAR-100-LT: Zhang et al., Bag of Tricks for Long-Tailed Visual
  Recognition with Deep Convolutional Neural Networks, AAAI 2021.
  """
  wrong, _ = _prior(counts)
  kept = jnp.where(wrong < below, 1.0 - share, 1.0)
  return additive_margin_loss(logits, labels, jnp.log(kept), jnp.zeros_like(kept))
