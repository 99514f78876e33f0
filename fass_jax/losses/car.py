"""Confusion-aware spectral regularisation (CAR): a penalty on the largest confusions of a batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def soft_confusion(
  logits: Array,
  labels: Array,
  num_classes: int,
  *,
  temperature: float = 1.0,
  margin: float = 0.0,
  gate_gradient: bool = False,
  mask: Array | None = None,
) -> Array:
  """Returns the differentiable confusion of a batch: column j tells what images of class j become.

    c_ij = mean over samples of class j of sigmoid(margin + z_i - z_j) softmax(z / temperature)_i

  with c_jj = 0. A perfect classifier has c = 0.

  Args:
    logits: float `[B, C]`, z.
    labels: integer `[B]`.
    num_classes: C.
    temperature: > 0, of the softmax alone.
    margin: added to the difference of the logits.
    gate_gradient: False holds the sigmoid constant, as the published program does.
    mask: bool `[B]`, True: the row counts; None: all do.

  Returns:
    float32 `[C, C]` in [0, 1], row predicted, column true; the columns of absent classes are 0.

  Reference: CAR, confusion-aware spectral regularisation, arXiv:2603.16732.
  """
  z = jnp.asarray(logits, float)
  on = jnp.ones(labels.shape) if mask is None else jnp.asarray(mask, float)
  own = jnp.take_along_axis(z, labels[:, None], axis=1)
  gate = jax.nn.sigmoid(margin + z - own)
  gate = gate if gate_gradient else jax.lax.stop_gradient(gate)
  wrong = 1.0 - jax.nn.one_hot(labels, num_classes)
  # where: a masked row may be inf or nan, and 0 * nan is nan
  rows = jnp.where(on[:, None] > 0, wrong * gate * jax.nn.softmax(z / temperature), 0.0)
  sums = jnp.zeros((num_classes, num_classes)).at[labels].add(rows)
  counts = jnp.zeros(num_classes).at[labels].add(on)
  return (sums / jnp.maximum(counts, 1.0)[:, None]).T


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
