"""Reduces per-example losses to the scalar objective; no other module reduces losses."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from fass_jax.types import Array, Context, Examples, Outputs, Targets, Term, Time


def weighted_mean(values: Array, weights: Array, divisor: float | None = None) -> Array:
  """Returns sum(w * l) / sum(w), PyTorch's weighted mean, or sum(w * l) / divisor.

  Args:
    values: float, any shape.
    weights: float >= 0, the same shape; if all are zero, the result is 0.
    divisor: a constant that replaces the sum of the weights.
  """
  total = jnp.sum(weights)
  scale = jnp.where(total > 0, total, 1.0) if divisor is None else divisor
  # where instead of a plain product: a masked sample may be inf or nan, and 0 * nan is nan
  return jnp.sum(jnp.where(weights > 0, weights * values, 0.0)) / scale


def pair_loss(
  loss: Callable[..., tuple[Array, Array]],
  outs: Outputs,
  targets: Targets,
  mask: Array,
  context: Context,
  mixed_label: bool,
  divisor: float | None = None,
  labels: str = 'both',
) -> Array:
  """Returns the loss for a pair target (a, b, lam).

  The result is sum(lam w_a l_a) / sum(w_a) + sum((1 - lam) w_b l_b) / sum(w_b). Most losses see
  integer labels only, as margin losses require. A loss that is not linear in the label says so with
  `labels`, and is called once.

  Args:
    loss: a function of `LOSSES`.
    outs: the network's outputs for the view.
    targets: the pair `(a, b, lam)`, each `[B]`.
    mask: `[B]`, 0 excludes a sample.
    context: what the loss reads of the run.
    mixed_label: False means lam = 1 for all samples; the second sum is then not computed.
    divisor: see `weighted_mean`.
    labels: 'both', as above; 'own': label a of every row; 'unmixed': label a of the rows with
      lam = 1, the others are masked out; 'pair': the loss reads `examples.targets` itself.
  """
  if labels == 'unmixed' and mixed_label:
    mask = targets.unmixed(mask)

  def half(own: Array, share: Array | None) -> Array:
    values, weights = loss(outs, Examples(own, targets, mask), context)
    on = jnp.asarray(mask, float).reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
    if share is not None:
      values = values * share.reshape(on.shape)
    return weighted_mean(values, weights * on, divisor)

  if not mixed_label or labels != 'both':
    return half(targets.a, None)
  return half(targets.a, targets.lam) + half(targets.b, 1.0 - targets.lam)


def term_loss(parts: list[Array]) -> Array:
  """Returns the sum of a term's losses over its views; in FASS, L_FS = L(z_m, y_m) + L(z_c, y_c).

  Args:
    parts: one scalar per view.

  Thesis: Eq. (8b).
  """
  return jnp.sum(jnp.stack(parts))


def total_loss(terms: dict[str, Term], values: dict[str, Array], t: Time) -> Array:
  """Returns the sum of weight(t) * value over the terms; in FASS, L = L(z_i, y_i) + alpha * L_FS.

  Args:
    terms: the recipe's terms by name.
    values: one scalar per term that is active in this step.
    t: the time, which a term's weight may depend on.

  Thesis: Eq. (9).
  """
  return jnp.sum(jnp.stack([terms[name].weight(t) * value for name, value in values.items()]))
