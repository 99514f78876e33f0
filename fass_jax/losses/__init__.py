"""Losses: `(outs, labels, classes, signals, t) -> (values, weights)` in nats, never reduced.

`outs` is an `Outputs`, `labels` integer `[B]`; values and weights have equal shapes. The names
stand in `LOSSES`; the step alone reduces, by `combine`.
"""

from fass_jax.losses.build import BUILDERS as LOSSES
from fass_jax.losses.build import JOINT, TAUGHT, reweight
from fass_jax.losses.softmax import cross_entropy

__all__ = ['JOINT', 'LOSSES', 'TAUGHT', 'cross_entropy', 'reweight']
