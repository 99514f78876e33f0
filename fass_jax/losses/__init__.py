"""Losses: `(outs, labels, classes, signals, t) -> (values, weights)` per example, in nats.

`outs` is an `Outputs`, `labels` is integer `[B]`; values and weights have equal shapes. `LOSSES`
lists the losses by name. No loss reduces its values; the train step does, with `combine`.
"""

from fass_jax.losses.build import LOSSES, reweight
from fass_jax.losses.softmax import cross_entropy

__all__ = ['LOSSES', 'cross_entropy', 'reweight']
