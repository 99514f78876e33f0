"""Confusion-aware spectral regularisation (CAR): a penalty on the largest confusions of a batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.losses.kinds import Loss, Use
from fass_jax.signals.confusion import Parameters, soft_confusion, update
from fass_jax.types import Array, Context, Examples, Outputs

__all__ = ['class_weights', 'needs_confusion', 'penalty', 'soft_confusion', 'spectral_norm']

SIGNAL = 'confusion'  # the name of the signal that the loss reads


def class_weights(counts: Array, r0: float, by: str = 'frequency') -> Array:
  """Returns w_c ~ (m_c + r0)^(-1/2), at least 1e-3 and then divided by their mean.

  By frequency, m_c = n_c / N, which the published program takes: all weights are then almost
  equal. By count, m_c = n_c.

  Args:
    counts: `[C]`, training images per class, n.
    r0: > 0; it bounds the weight of a rare class.
    by: 'frequency' or 'count'.

  Returns:
    float32 `[C]`, mean 1.

  Raises:
    ValueError: for another `by`.

  Reference: CAR, confusion-aware spectral regularisation, arXiv:2603.16732.
  """
  if by not in ('frequency', 'count'):
    raise ValueError(f"by='{by}' is neither 'frequency' nor 'count'")
  n = jnp.asarray(counts, float)
  m = n / n.sum() if by == 'frequency' else n
  w = jnp.maximum((m + r0) ** -0.5, 1e-3)
  return w / w.mean()


def spectral_norm(matrix: Array, iterations: int = 100) -> Array:
  """Returns the largest singular value s = u^T M v of a matrix without negative entries.

  The vectors u and v come from power iteration on M^T M and are constants of the gradient, which is
  u v^T: that of the singular value decomposition, at O(C^2) instead of O(C^3) a turn. They begin
  with equal entries, which a matrix without negative entries never makes orthogonal to v.

  Args:
    matrix: float `[R, C]`, >= 0.
    iterations: turns of the power iteration.

  Returns:
    float32 scalar, >= 0; a zero matrix has the value and the gradient 0.

  Reference: Horn and Johnson, Matrix Analysis, section 8.3 (Perron and Frobenius).
  """
  m = jnp.asarray(matrix, float)
  held = jax.lax.stop_gradient(m)

  def unit(x: Array) -> Array:
    # scaled first: the squares of tiny entries are 0
    x = x / jnp.maximum(jnp.abs(x).max(), jnp.finfo(x.dtype).tiny)
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)

  def times(a: Array, x: Array) -> Array:
    return jnp.matmul(a, x, precision=jax.lax.Precision.HIGHEST)

  def turn(_: Array, v: Array) -> Array:
    return unit(times(held.T, unit(times(held, v))))

  v = jax.lax.fori_loop(0, iterations, turn, unit(jnp.ones(m.shape[1])))
  u = unit(times(held, v))
  u, v = jax.lax.stop_gradient((u, v))
  return jnp.vdot(u, times(m, v), precision=jax.lax.Precision.HIGHEST)


def penalty(r0: float, by: str, **parameters: Any) -> tuple[Loss]:
  """Returns the loss ||C diag(w)||_2 of the confusion C after the batch, the same for each sample.

  Args:
    r0: see `class_weights`.
    by: see `class_weights`.
    **parameters: the parameters of the signal, see `signals.confusion.Parameters`.

  Reference: CAR, confusion-aware spectral regularisation, arXiv:2603.16732.
  """
  how = Parameters(**parameters)

  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    after = update(context.signals[SIGNAL], outs, examples.labels, examples.mask, how)
    w = class_weights(context.classes.count, r0, by)
    weights = jnp.asarray(examples.mask, float)
    return jnp.broadcast_to(spectral_norm(after.matrix * w[None, :]), weights.shape), weights

  return (loss,)


def needs_confusion(use: Use) -> str:
  """Returns a message unless the run has the signal whose matrix the loss reads."""
  section = use.config.signals.get(SIGNAL)
  if section is not None and section.kind == 'confusion':
    return ''
  return (
    f"{use.name} reads the signal '{SIGNAL}', which this run lacks: add the method car, or set "
    f'--config.signals.{SIGNAL}.kind=confusion.'
  )
