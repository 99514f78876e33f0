"""The only place where losses are reduced: per-example values to the number that is minimised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from fass_jax.types import Array, Classes, Outputs, Targets, Term, Time


def weighted_mean(values: Array, weights: Array, divisor: float | None = None) -> Array:
  """Returns sum(w * l) / sum(w), PyTorch's weighted mean, or sum(w * l) / divisor.

  Args:
    values: float, any shape.
    weights: float >= 0, the same shape; all zero gives 0.
    divisor: a constant instead of the sum of the weights.
  """
  total = jnp.sum(weights)
  scale = jnp.where(total > 0, total, 1.0) if divisor is None else divisor
  # where, not a product alone: a masked sample may hold inf or nan
  return jnp.sum(jnp.where(weights > 0, weights * values, 0.0)) / scale


def pair_loss(
  loss: Callable[..., tuple[Array, Array]],
  outs: Outputs,
  targets: Targets,
  mask: Array,
  context: tuple[Classes, dict[str, Any], Time],
  mixed_label: bool,
  divisor: float | None = None,
) -> Array:
  """Returns a loss against a pair target: both labels are asked, each by its own weighted mean.

  sum(lam w_a l_a) / sum(w_a) + sum((1 - lam) w_b l_b) / sum(w_b); margin losses, which need
  integer labels, mix like this.

  Args:
    loss: a function of `LOSSES`.
    outs: the network's outputs for the view.
    targets: the pair `(a, b, lam)`, each `[B]`.
    mask: `[B]`, 0 leaves a sample out.
    context: what a loss may read beside the outputs: classes, signals, time.
    mixed_label: False says lam = 1 throughout, so that the second half is not computed.
    divisor: see `weighted_mean`.
  """

  def half(labels: Array, share: Array | None) -> Array:
    values, weights = loss(outs, labels, *context)
    on = jnp.asarray(mask, float).reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
    if share is not None:
      values = values * share.reshape(on.shape)
    return weighted_mean(values, weights * on, divisor)

  if not mixed_label:
    return half(targets.a, None)
  return half(targets.a, targets.lam) + half(targets.b, 1.0 - targets.lam)


def term_loss(parts: list[Array]) -> Array:
  """Adds up the losses of a term's views; for FASS' term L_FS = L(z_m, y_m) + L(z_c, y_c).

  Args:
    parts: one scalar a view.

  Thesis: Eq. (8b).
  """
  return jnp.sum(jnp.stack(parts))


def total_loss(terms: dict[str, Term], values: dict[str, Array], t: Time) -> Array:
  """Weighs the terms: sum of weight(t) * term; for FASS L = L(z_i, y_i) + alpha * L_FS.

  Args:
    terms: the recipe's terms by name.
    values: a scalar for each term that is on in this step.
    t: the time that weights may depend on.

  Thesis: Eq. (9).
  """
  return jnp.sum(jnp.stack([terms[name].weight(t) * value for name, value in values.items()]))
