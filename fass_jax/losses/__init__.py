"""Losses: `(outs, labels, classes, signals, t) -> (values, weights)` in nats, never reduced.

`outs` is an `Outputs`, `labels` integer `[B]`; values and weights have equal shapes. The names
stand in `LOSSES`; the step alone reduces, by `combine`.
"""

from fass_jax.losses.build import LOSSES, reweight
from fass_jax.losses.softmax import cross_entropy

__all__ = ['LOSSES', 'cross_entropy', 'reweight']
