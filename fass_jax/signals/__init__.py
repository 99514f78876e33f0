"""Signals: statistics with `init`, `observe` (per step) and `refresh` (per epoch)."""

from fass_jax.signals.confusion import confusion
from fass_jax.signals.kinds import SIGNALS, SignalKind
from fass_jax.signals.levels import levels
from fass_jax.signals.op_weights import op_weights
from fass_jax.signals.score_matrix import score_matrix

__all__ = ['SIGNALS', 'SignalKind', 'confusion', 'levels', 'op_weights', 'score_matrix']
