"""Feature distribution smoothing as a signal: it changes the head's input in training."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.regression import fds as smoothing
from fass_jax.regression.weights import kernel_window
from fass_jax.types import Array, Inspector, Outputs, Signal, Targets, Time, UserError


class Smoothed(NamedTuple):
  """The state of the signal."""

  statistics: smoothing.Statistics  # in use
  moments: smoothing.Moments  # of this epoch; empty if they come from a pass


def fds(
  view: str,
  source: str,
  kernel: str,
  size: int,
  sigma: float,
  momentum: float,
  clip: tuple[float, float],
  order: str,
  width: int,
) -> Signal:
  """Returns the signal, see `fass_jax.regression.fds`; evaluation and prediction do not smooth.

  Args:
    view: the view whose features are smoothed.
    source: 'running': features of the training steps; 'pass': those of a pass over the training set
      at the end of the epoch, in evaluation mode and without augmentation. Both are not smoothed.
    kernel: of the window over neighbouring bins.
    size: bins of the window, odd.
    sigma: of the window.
    momentum: in [0, 1); 1 stands for the mean over all epochs.
    clip: bounds of the ratio of the variances.
    order: 'code' or 'paper'.
    width: numbers per feature.

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
  """
  _check(source, size, clip)
  how: Any = {'window': kernel_window(kernel, size, sigma), 'clip': tuple(clip), 'order': order}
  advance = jax.jit(functools.partial(_advance, None if momentum == 1.0 else momentum))

  def init(num_bins: int) -> Smoothed:
    return Smoothed(smoothing.fds_init(num_bins, width), smoothing.no_moments(num_bins, width))

  def observe(state: Smoothed, outs: Outputs, targets: Targets, mask: Array) -> Smoothed:
    if source == 'pass':
      return state
    assert outs.trunk is not None, 'the network gives no features'
    z = jax.lax.stop_gradient(outs.trunk)
    return state._replace(moments=smoothing.add_moments(state.moments, z, targets.a, mask))

  def refresh(state: Smoothed, inspector: Inspector, key: Array, epoch: Array) -> Smoothed:
    del key, epoch
    if source == 'pass':
      assert inspector.outputs is not None
      state = state._replace(moments=inspector.outputs(_add, state.moments))
    return advance(state)

  def between(state: Smoothed, features: Array, targets: Targets, t: Time) -> Array:
    del t
    return smoothing.fds_smooth(state.statistics, features, targets.a, **how)

  return Signal(view, init, observe, refresh, describe, between=between)


def _check(source: str, size: int, clip: tuple[float, ...]) -> None:
  """Refuses values that FDS does not take."""
  if source not in ('running', 'pass'):
    raise UserError(
      f"FDS takes its statistics from 'running' training passes or a 'pass' over the set; set "
      f'--config.signals.NAME.source to one of these, not {source}.'
    )
  if size % 2 == 0 or len(clip) != 2 or clip[0] > clip[1]:
    raise UserError(
      f'FDS needs an odd --config.signals.NAME.size and bounds in clip, the lower one first, '
      f'but they are {size} and {clip}.'
    )


def _add(moments: smoothing.Moments, outs: Outputs, labels: Array, mask: Array) -> Any:
  assert outs.trunk is not None, 'the network gives no features'
  return smoothing.add_moments(moments, outs.trunk, labels, mask)


def _advance(momentum: float | None, state: Smoothed) -> Smoothed:
  new = smoothing.advance(state.statistics, state.moments, momentum=momentum)
  return Smoothed(new, jax.tree.map(jnp.zeros_like, state.moments))


def describe(old: Smoothed, new: Smoothed) -> dict[str, float]:
  """Returns how many bins have statistics, and how far the last update moved their means.

  Args:
    old: not read.
    new: host arrays.
  """
  del old
  s = new.statistics
  filled = np.asarray(s.tracked) > 0
  moved = np.linalg.norm(np.asarray(s.mean) - np.asarray(s.mean_before), axis=1)
  return {
    'bins_filled': float(filled.sum()),
    'mean_moved': float(moved[filled].mean()) if filled.any() else float('nan'),
  }
