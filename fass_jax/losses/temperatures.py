"""Class-dependent temperatures (CDT): training divides the logits of rare classes by more."""

from __future__ import annotations

import jax.numpy as jnp

from fass_jax.losses.softmax import cross_entropy
from fass_jax.types import Array


def class_temperatures(counts: Array, gamma: float) -> Array:
  """Returns a_c = (max_k n_k / n_c)^gamma.

  Args:
    counts: `[C]`, training images per class; 0 counts as 1.
    gamma: >= 0; 0 gives ones.

  Returns:
    float32 `[C]`, >= 1.
  """
  n = jnp.asarray(counts, float)
  return (n.max() / jnp.maximum(n, 1.0)) ** gamma


def cdt(logits: Array, labels: Array, counts: Array, gamma: float) -> Array:
  """Returns -log softmax(z / a)_y with the temperatures a of `class_temperatures`.

  Prediction uses z without temperatures, which favours rare classes.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images per class.
    gamma: see `class_temperatures`; 0 is cross entropy.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Ye et al., Identifying and Compensating for Feature Deviation in Imbalanced Deep
  Learning, arXiv:2001.01385. gamma = 0.2 on CIFAR-LT: Zhang et al., Bag of Tricks for Long-Tailed
  Visual Recognition with Deep Convolutional Neural Networks, AAAI 2021.
  """
  z = jnp.asarray(logits, float)
  return cross_entropy(z / class_temperatures(counts, gamma)[None, :], labels)
