"""Cross entropy, the base of all softmax losses, and label smoothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from fass_jax.types import Array


def cross_entropy(logits: Array, labels: Array) -> Array:
  """Returns -log softmax(z)_y.

  Args:
    logits: float `[B, C]`, any precision.
    labels: integer `[B]`, in 0 .. C-1.

  Returns:
    float32 `[B]` in nats, >= 0.
  """
  return optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits, float), labels)


def label_smoothing(logits: Array, labels: Array, smoothing: float) -> Array:
  """Returns -sum_c q_c log softmax(z)_c with q = (1 - e) onehot(y) + e / C.

  Args:
    logits: float `[B, C]`, any precision.
    labels: integer `[B]`.
    smoothing: e in [0, 1); 0 is cross entropy.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: Szegedy et al., Rethinking the Inception Architecture for Computer Vision,
  arXiv:1512.00567 (e = 0.1).
  """
  uniform = -jax.nn.log_softmax(jnp.asarray(logits, float)).mean(-1)
  return (1.0 - smoothing) * cross_entropy(logits, labels) + smoothing * uniform
