"""The score matrix as a signal: fed by the natural view, swapped in at the end of the epoch."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax import score
from fass_jax.types import Array, Inspector, Outputs, Signal, Targets


def score_matrix(view: str, form: str, source: str, decay: float) -> Signal:
  """Builds the signal.

  Args:
    view: the view whose forward passes feed the running sum.
    form: 'matrix' or 'vector', see `score.refresh`.
    source: 'running', the un-mixed training forwards of the epoch, or 'pass', a pass over the
      training set at the epoch's end with running batch statistics and without augmentation.
    decay: in [0, 1), the memory of older epochs.
  """

  def observe(state: score.Score, outs: Outputs, targets: Targets, mask: Array) -> score.Score:
    if source == 'pass':
      return state
    # only images that show one class alone: where the coin of a label mix was off, lam is 1
    weight = jnp.asarray(mask, float) * (targets.lam == 1.0)
    return score.observe(state, outs.logits.mean(axis=1), targets.a, weight)

  swap = jax.jit(functools.partial(score.refresh, decay=decay, form=form))

  def refresh(state: score.Score, inspector: Inspector, key: Array, epoch: Array) -> Any:
    del key, epoch
    if source == 'pass':
      state = inspector.fold(score.observe, state)
    return swap(state)

  return Signal(view, score.init_score, observe, refresh, describe)


def describe(old: score.Score, new: score.Score) -> dict[str, float]:
  """Returns how far an epoch moved the choice of targets.

  Args:
    old: the score before the refresh (host arrays).
    new: the score after it.

  Returns:
    `targets_changed`: rows of S whose arg-max target is another one than before (of the rows
    known before; NaN if there was none), `target_stability`: the share that kept its target,
    `lambda_below_half`: the share of classes whose next lambda is below 1/2.
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
