"""Signals by name: the parameters that each reads, and what it cannot run beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fass_jax.signals.levels import levels
from fass_jax.signals.op_weights import op_weights
from fass_jax.signals.score_matrix import score_matrix
from fass_jax.types import Signal


class SignalKind(NamedTuple):
  """A signal as a config names it; an open set: add a function and a row of `SIGNALS`."""

  build: Callable[..., Signal]  # (view, *reads[, epochs]) -> Signal
  reads: tuple[str, ...]  # the keys of its section that it is built with, in this order
  reads_epochs: bool = False  # is built with the length of the run too
  keeps_scores: bool = False  # its state has a `matrix` that partners and ratios read
  unmixed: bool = False  # learns from steps alone in which its view is not mixed


SIGNALS: dict[str, SignalKind] = {
  'score_matrix': SignalKind(
    score_matrix, ('form', 'source', 'decay'), keeps_scores=True, unmixed=True
  ),
  'levels': SignalKind(levels, ('chance', 'accept', 'images', 'most')),
  'op_weights': SignalKind(op_weights, ('chance', 'start'), reads_epochs=True),
}
