"""Cross entropy: what every loss of the softmax family ends in."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from fass_jax.types import Array, Classes, Outputs, Time


def log_loss(logits: Array, labels: Array) -> Array:
  """Returns -log softmax(z)_y.

  Args:
    logits: float `[B, C]`, any precision.
    labels: integer `[B]`, in 0 .. C-1.

  Returns:
    float32 `[B]` in nats, >= 0.
  """
  return optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits, float), labels)


def cross_entropy(
  outs: Outputs, labels: Array, classes: Classes, signals: dict[str, Any], t: Time
) -> tuple[Array, Array]:
  """Returns `log_loss` of the mean logits of the experts.

  Args:
    outs: logits `[B, E, C]`.
    labels: integer `[B]`.
    classes: unused.
    signals: unused.
    t: unused.

  Returns:
    float32 `[B]` in nats, >= 0, and weights of 1.
  """
  del classes, signals, t
  values = log_loss(outs.logits.mean(axis=1), labels)
  return values, jnp.ones_like(values)
