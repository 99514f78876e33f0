"""Pieces with memory: `init`, `observe` in each step, `refresh` at each epoch's end."""

from fass_jax.signals.levels import levels
from fass_jax.signals.op_weights import op_weights
from fass_jax.signals.score_matrix import score_matrix

SIGNALS = {'score_matrix': score_matrix, 'levels': levels, 'op_weights': op_weights}

__all__ = ['SIGNALS', 'levels', 'op_weights', 'score_matrix']
