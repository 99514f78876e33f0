"""Signals by name, their parameters and their properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fass_jax.signals.confusion import Parameters, confusion
from fass_jax.signals.fds import fds
from fass_jax.signals.levels import levels
from fass_jax.signals.op_weights import op_weights
from fass_jax.signals.score_matrix import score_matrix
from fass_jax.types import Signal


class SignalKind(NamedTuple):
  """A signal and its properties; to add one, add a function and a row of `SIGNALS`."""

  build: Callable[..., Signal]  # (view, *reads[, epochs]) -> Signal
  reads: tuple[str, ...]  # config keys of its section, in the order of `build`'s arguments
  reads_epochs: bool = False  # True: `build` also takes the epochs of the run
  keeps_scores: bool = False  # True: its state has a `matrix` for partners and ratios
  unmixed: bool = False  # True: only steps with an unmixed view update it
  reads_width: bool = False  # True: `build` also takes the width of the trunk's features, last
  tasks: tuple[str, ...] = ('classification',)  # what a run with it can predict


SIGNALS: dict[str, SignalKind] = {
  'score_matrix': SignalKind(
    score_matrix, ('form', 'source', 'decay', 'temperature'), keeps_scores=True, unmixed=True
  ),
  'confusion': SignalKind(confusion, Parameters._fields, unmixed=True),
  'levels': SignalKind(levels, ('chance', 'accept', 'images', 'most')),
  'op_weights': SignalKind(op_weights, ('chance', 'start'), reads_epochs=True),
  'fds': SignalKind(
    fds,
    ('source', 'kernel', 'size', 'sigma', 'momentum', 'clip', 'order'),
    reads_width=True,
    tasks=('regression',),
  ),
}
