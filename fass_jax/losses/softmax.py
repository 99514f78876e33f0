"""The softmax family of losses."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from fass_jax.types import Array, Classes, Outputs, Time


def cross_entropy(
  outs: Outputs, labels: Array, classes: Classes, signals: dict[str, Any], t: Time
) -> tuple[Array, Array]:
  """Returns -log softmax(z)_y for the mean logits of the experts.

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
  logits = outs.logits.mean(axis=1).astype(jnp.float32)
  values = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return values, jnp.ones_like(values)
