"""The score matrix as a signal: updated per step, and put into use at the end of the epoch."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax import score
from fass_jax.types import Array, Inspector, Outputs, Signal, Targets


def score_matrix(view: str, form: str, source: str, decay: float, temperature: float) -> Signal:
  """Returns the signal.

  Args:
    view: the view with the predictions that enter the sums.
    form: 'matrix' or 'vector', see `score.refresh`.
    source: 'running': the predictions for unmixed images during training; 'every': those for all
      views, mixed images under the label of their first image; 'pass': a pass over the training
      set at the end of the epoch, in evaluation mode and without augmentation; 'held_out': such a
      pass over the held-out images.
    decay: in [0, 1), the weight of older epochs.
    temperature: of the softmax.
  """
  # one function per signal, since a pass has a program per function
  add = score.observe
  if temperature != 1:
    add = functools.partial(score.observe, temperature=temperature)
  passes = source in ('pass', 'held_out')

  def observe(state: score.Score, outs: Outputs, targets: Targets, mask: Array) -> score.Score:
    if passes:
      return state
    weight = jnp.asarray(mask if source == 'every' else targets.unmixed(mask), float)
    return add(state, outs.logits.mean(axis=1), targets.a, weight)

  swap = jax.jit(functools.partial(score.refresh, decay=decay, form=form))

  def refresh(state: score.Score, inspector: Inspector, key: Array, epoch: Array) -> Any:
    del key, epoch
    if passes:
      over = inspector.fold if source == 'pass' else inspector.held
      assert over is not None, 'see recipe.views.build_signal'
      state = over(add, state)
    return swap(state)

  return Signal(
    view,
    score.init_score,
    observe,
    refresh,
    describe,
    every=source == 'every',
    held=source == 'held_out',
  )


def describe(old: score.Score, new: score.Score) -> dict[str, float]:
  """Returns how much an epoch changed the target classes.

  Args:
    old: the score before the refresh (host arrays).
    new: the score after the refresh.

  Returns:
    `targets_changed`: number of classes with a new target class, among the classes with a score
    before (NaN if there was none); `target_stability`: share of these classes with the same target
    class; `lambda_below_half`: share of classes with lambda < 1/2 for their new target class.
  """
  was, now = (np.asarray(score.select_targets(s.matrix)) for s in (old, new))
  known = np.asarray(old.matrix).sum(-1) > 0
  changed = int(np.sum((was != now) & known))
  labels = jnp.arange(len(now))
  lam = np.asarray(score.mixing_ratio(new.matrix, labels, jnp.asarray(now)))
  return {
    'targets_changed': changed if known.any() else float('nan'),
    'target_stability': 1.0 - changed / known.sum() if known.any() else float('nan'),
    'lambda_below_half': float((lam < 0.5).mean()),
  }
