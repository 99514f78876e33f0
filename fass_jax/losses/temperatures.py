"""Class-dependent temperatures: in training, the logits of rare classes are divided by more."""

from __future__ import annotations

import jax.numpy as jnp

from fass_jax.losses.softmax import log_loss
from fass_jax.types import Array


def class_temperatures(counts: Array, gamma: float) -> Array:
  """Returns a_c = (max_k n_k / n_c)^gamma.

  Args:
    counts: `[C]`, training images of each class; 0 counts as 1.
    gamma: >= 0; 0 gives ones.

  Returns:
    float32 `[C]`, >= 1.
  """
  n = jnp.asarray(counts, float)
  return (n.max() / jnp.maximum(n, 1.0)) ** gamma


def cdt(logits: Array, labels: Array, counts: Array, gamma: float) -> Array:
  """Returns -log softmax(z / a)_y; at test time z itself is asked, so rare classes stand out.

  Args:
    logits: float `[B, C]`.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class.
    gamma: of `class_temperatures`; 0 is cross entropy.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Ye, Chen, Zhan, Chao, 2020. gamma = 0.2: Zhang, Wei, Zhou, Wu, AAAI 2021, on CIFAR-LT.
  """
  z = jnp.asarray(logits, float)
  return log_loss(z / class_temperatures(counts, gamma)[None, :], labels)
