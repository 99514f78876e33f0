"""Pieces with memory, beside the parameters: each owns an entry of `state.signals`."""

from fass_jax.signals.score_matrix import score_matrix

SIGNALS = {'score_matrix': score_matrix}

__all__ = ['SIGNALS', 'score_matrix']
