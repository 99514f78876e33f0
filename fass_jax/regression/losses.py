"""Losses of regression: functions of predictions `[B]` and targets `[B]` in one unit."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array


def l1(error: Array) -> Array:
  """Returns |e|, with a gradient of 0 at 0."""
  return jnp.sign(error) * error  # the gradient of jnp.abs at 0 is 1


def mse(error: Array) -> Array:
  """Returns e^2."""
  return error * error


def huber(error: Array, beta: float = 1.0) -> Array:
  """Returns e^2 / (2 beta) for |e| < beta, and |e| - beta / 2 otherwise.

  Args:
    error: any shape.
    beta: > 0, in the unit of the error.

  Reference: Huber, Robust Estimation of a Location Parameter, 1964; scaled as smooth L1 of
  Girshick, Fast R-CNN, arXiv:1504.08083.
  """
  size = l1(error)
  return jnp.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def focal_factor(error: Array, beta: float, gamma: float) -> Array:
  """Returns (2 sigmoid(beta |e|) - 1)^gamma in [0, 1): small errors count less (focal-R).

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
  """
  x = jnp.tanh(0.5 * beta * l1(error))  # 2 sigmoid(x) - 1 = tanh(x / 2)
  if gamma == 1.0:
    return x
  # a power below 1 has an infinite gradient at 0
  return jnp.where(x > 0, jnp.where(x > 0, x, 1.0) ** gamma, 1.0 if gamma == 0 else 0.0)


def focal_l1(error: Array, beta: float = 0.2, gamma: float = 1.0) -> Array:
  """Returns |e| (2 sigmoid(beta |e|) - 1)^gamma, see `focal_factor`."""
  return l1(error) * focal_factor(error, beta, gamma)


def focal_mse(error: Array, beta: float = 0.2, gamma: float = 1.0) -> Array:
  """Returns e^2 (2 sigmoid(beta |e|) - 1)^gamma, see `focal_factor`."""
  return mse(error) * focal_factor(error, beta, gamma)


LOSSES: dict[str, Callable[..., Array]] = {
  'l1': l1,
  'mse': mse,
  'huber': huber,
  'focal_l1': focal_l1,
  'focal_mse': focal_mse,
}


def loss(name: str, predictions: Array, targets: Array, weights: Array | None = None) -> Array:
  """Returns the mean over the batch of w times the loss of the error p - y.

  Args:
    name: a key of `LOSSES`; 'huber' has beta 1, the focal losses have beta 0.2 and gamma 1.
    predictions: float `[B]`.
    targets: float `[B]`.
    weights: `[B]`; None: ones. The mean is over B, not over the sum of the weights.

  Returns:
    float scalar.

  Raises:
    ValueError: for another name.

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
  """
  if name not in LOSSES:
    raise ValueError(f"name='{name}' is none of {', '.join(LOSSES)}")
  values = LOSSES[name](jnp.asarray(predictions, float) - jnp.asarray(targets, float))
  return (values if weights is None else values * jnp.asarray(weights, float)).mean()


def balanced_mse_rows(
  predictions: Array, targets: Array, noise: Array | float, mask: Array | None = None
) -> Array:
  """Returns the terms of `balanced_mse`, one per prediction; 0 for a masked row."""
  p, y = jnp.asarray(predictions, float), jnp.asarray(targets, float)
  on = jnp.ones(p.shape, bool) if mask is None else jnp.asarray(mask, bool)
  # where: a masked row may be inf or nan, and 0 * nan is nan
  p, y = jnp.where(on, p, 0.0), jnp.where(on, y, 0.0)
  double = 2.0 * jnp.square(jnp.asarray(noise, float))
  z = -jnp.square(p[:, None] - y[None, :]) / double
  log_p = jax.nn.log_softmax(jnp.where(on[None, :], z, -jnp.inf), axis=1, where=on[None, :])
  own = jnp.where(on, jnp.diagonal(log_p), 0.0)
  return -own * jax.lax.stop_gradient(double)


def balanced_mse(
  predictions: Array, targets: Array, noise: Array | float, mask: Array | None = None
) -> Array:
  """Returns Balanced MSE in its batch form.

  The targets of the batch are the classes: row i is a cross entropy with class i over the logits
  -(p_i - y_j)^2 / (2 s^2). Its mean is multiplied by 2 s^2, whose gradient is stopped.

  Args:
    predictions: float `[B]`, p.
    targets: float `[B]`, y.
    noise: s > 0, in the unit of the targets; a constant or a parameter that learns.
    mask: bool `[B]`, False excludes a row; None: all count.

  Returns:
    float scalar.

  Reference: Ren et al., Balanced MSE for Imbalanced Visual Regression, arXiv:2203.16427.
  """
  rows = balanced_mse_rows(predictions, targets, noise, mask)
  n = rows.shape[0] if mask is None else jnp.maximum(jnp.asarray(mask, float).sum(), 1.0)
  return rows.sum() / n
