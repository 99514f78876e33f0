"""Feature distribution smoothing (FDS): moves features to statistics of neighbouring bins."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

Array = jax.Array

ORDERS = ('code', 'paper')
NOTHING = 1e-10  # a bin whose variances sum to less is left as it is


class Moments(NamedTuple):
  """The number of features per bin, their mean and their squared distances from it."""

  count: Array  # type: ignore[assignment]  # float32 [bins]
  mean: Array  # float32 [bins, D]
  square: Array  # float32 [bins, D], the sum of (z - mean)^2


class Statistics(NamedTuple):
  """The state of FDS: smoothed means and variances of the features of each bin over the epochs."""

  mean: Array  # float32 [bins, D]; 0 until the bin is filled
  var: Array  # float32 [bins, D]; 1 until the bin is filled
  mean_before: Array  # float32 [bins, D], one update ago
  var_before: Array  # float32 [bins, D]
  tracked: Array  # float32 [bins], features of all updates
  updates: Array  # int32, updates done


def fds_init(num_bins: int, num_features: int) -> Statistics:
  """Returns the state before any update: means of 0 and variances of 1."""
  zeros = jnp.zeros((num_bins, num_features), float)
  # separate buffers: a donated train state must not alias
  return Statistics(
    zeros,
    jnp.ones_like(zeros),
    jnp.zeros_like(zeros),
    jnp.ones_like(zeros),
    jnp.zeros((num_bins,), float),
    jnp.zeros((), jnp.int32),
  )


def no_moments(num_bins: int, num_features: int) -> Moments:
  """Returns the moments of no features."""
  zeros = jnp.zeros((num_bins, num_features), float)
  return Moments(jnp.zeros((num_bins,), float), zeros, jnp.zeros_like(zeros))


def add_moments(old: Moments, features: Array, bins: Array, mask: Array | None = None) -> Moments:
  """Returns the moments after a batch; a row that is not finite does not count.

  The sums of squares are about the mean of the bin, so that they stay exact for features far from
  0.

  Args:
    old: the moments before.
    features: float `[B, D]`.
    bins: integer `[B]`; rows of bins that do not exist do not count.
    mask: bool `[B]`, True: the row counts; None: all do.

  Reference: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
  Sample Variances, COMPSTAT 1982.
  """
  z, num_bins = jnp.asarray(features, float), old.count.shape[0]
  on = jnp.isfinite(z).all(axis=1) & (bins >= 0) & (bins < num_bins)
  on = on if mask is None else on & jnp.asarray(mask, bool)
  place = jnp.clip(bins, 0, num_bins - 1)
  z = jnp.where(on[:, None], z, 0.0)
  n = jnp.zeros_like(old.count).at[place].add(on)
  mean = jnp.zeros_like(old.mean).at[place].add(z) / jnp.maximum(n, 1.0)[:, None]
  away = jnp.where(on[:, None], z - mean[place], 0.0)
  # the mean of float32 features far from 0 is rounded: its error is taken out once
  rest = jnp.zeros_like(mean).at[place].add(away) / jnp.maximum(n, 1.0)[:, None]
  mean, away = mean + rest, jnp.where(on[:, None], away - rest[place], 0.0)
  square = jnp.zeros_like(mean).at[place].add(away * away)
  total = old.count + n
  share = (n / jnp.maximum(total, 1.0))[:, None]
  gap = mean - old.mean
  return Moments(
    total,
    old.mean + gap * share,
    old.square + square + gap * gap * share * old.count[:, None],
  )


def advance(state: Statistics, new: Moments, *, momentum: float | None = 0.9) -> Statistics:
  """Returns the state after the moments of an epoch, see `fds_update`."""
  n = new.count[:, None]
  # of one feature the variance is 0
  var = new.square / jnp.maximum(n - 1.0, 1.0)
  tracked = state.tracked + new.count
  keep = (
    1.0 - n / jnp.maximum(tracked, 1.0)[:, None] if momentum is None else jnp.full_like(n, momentum)
  )
  keep = jnp.where(state.updates == 0, 0.0, keep)
  keep = jnp.where(n > 0, keep, 1.0)
  return Statistics(
    jnp.where(n > 0, keep * state.mean + (1.0 - keep) * new.mean, state.mean),
    jnp.where(n > 0, keep * state.var + (1.0 - keep) * var, state.var),
    state.mean,
    state.var,
    tracked,
    state.updates + 1,
  )


def fds_update(
  state: Statistics, features: Array, bins: Array, *, momentum: float | None = 0.9
) -> Statistics:
  """Returns the state after the features of an epoch.

  Per bin with features: mu <- momentum mu + (1 - momentum) mean, and the same with the variance of
  n - 1 (0 for one feature). The first update takes the mean and variance alone. Bins without
  features stay as they are. A row that is not finite does not count.

  Args:
    state: the state before.
    features: float `[N, D]`, of the whole training set, before they are smoothed.
    bins: integer `[N]`.
    momentum: in [0, 1); None: the mean over the features of all updates.

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
  """
  none = no_moments(*state.mean.shape)
  features, bins = jnp.asarray(features), jnp.asarray(bins)
  return advance(state, add_moments(none, features, bins), momentum=momentum)


def smooth_bins(values: Array, window: ArrayLike) -> Array:
  """Returns the weighted mean of `values [bins, D]` over neighbouring bins, reflected at the ends.

  The reflection does not repeat the bin at the end.
  """
  w = np.asarray(window)
  half = len(w) // 2
  padded = jnp.pad(values, ((half, half), (0, 0)), mode='reflect')
  return sum(
    (float(x) * padded[i : i + values.shape[0]] for i, x in enumerate(w)), jnp.zeros_like(values)
  )


def fds_smooth(
  state: Statistics,
  features: Array,
  bins: Array,
  *,
  window: ArrayLike,
  clip: tuple[float, float] = (0.1, 10.0),
  order: str = 'code',
) -> Array:
  """Returns z' = (z - mu_b) sqrt(clip(s_b / var_b)) + m_b, with m and s smoothed over the bins.

  'code': mu and var are the newest, and m and s are smoothed from those of one update before. There
  is no effect until two updates were made. 'paper': both are the newest, from the first update on.
  Dimensions with a variance of 0 in the bin stay as they are, and so do bins whose variances are
  all 0. It is for training only.

  Args:
    state: the statistics, see `fds_update`.
    features: float `[B, D]`.
    bins: integer `[B]`; rows of bins that do not exist stay as they are.
    window: `[size]`, see `kernel_window`; its sum should be 1.
    clip: bounds of the ratio of the variances.
    order: 'code' or 'paper'.

  Returns:
    float `[B, D]`.

  Raises:
    ValueError: for another order.

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
  """
  if order not in ORDERS:
    raise ValueError(f"order='{order}' is neither 'code' nor 'paper'")
  code, num_bins = order == 'code', state.mean.shape[0]
  mean, var = (state.mean_before, state.var_before) if code else (state.mean, state.var)
  mean, var = smooth_bins(mean, window), smooth_bins(var, window)
  features, bins = jnp.asarray(features), jnp.asarray(bins)
  place = jnp.clip(bins, 0, num_bins - 1)
  known = state.var > 0
  # the inner where keeps the gradient finite
  ratio = jnp.clip(var / jnp.where(known, state.var, 1.0), *clip)
  moves = known & (state.var.sum(axis=1, keepdims=True) >= NOTHING)
  moves = moves[place] & ((bins >= 0) & (bins < num_bins))[:, None]
  moves &= state.updates >= (2 if code else 1)
  moved = (features - state.mean[place]) * jnp.sqrt(ratio)[place] + mean[place]
  return jnp.where(moves, moved, features)
