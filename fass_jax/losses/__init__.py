"""Losses as pure functions of logits, labels and class counts, per example, in nats.

    balanced_softmax(logits [B, C], labels [B], counts [C]) -> [B]

`LOSSES` lists the losses that a config names. These have the signature of the train step,
`(outs, examples, context) -> (values, weights)`, see `Outputs`, `Examples` and `Context` in
`types.py`; values and weights have equal shapes. No loss reduces its values; the train step does,
with `combine`.
"""

from fass_jax.losses.adaptive import adaptive_adjustment
from fass_jax.losses.build import LOSSES, reweight
from fass_jax.losses.contrastive import balanced_contrastive
from fass_jax.losses.focal import focal
from fass_jax.losses.margins import ldam, ldam_margins
from fass_jax.losses.prior import (
  balanced_softmax,
  equalised,
  la_adaptive,
  logit_adjustment,
  two_rate,
  weighted_logit_adjustment,
)
from fass_jax.losses.sigmoid import focal_sigmoid, sigmoid_loss
from fass_jax.losses.softmax import cross_entropy, label_smoothing
from fass_jax.losses.temperatures import cdt
from fass_jax.losses.weights import effective_number_weights, inverse_frequency_weights

__all__ = [
  'LOSSES',
  'adaptive_adjustment',
  'balanced_contrastive',
  'balanced_softmax',
  'cdt',
  'cross_entropy',
  'effective_number_weights',
  'equalised',
  'focal',
  'focal_sigmoid',
  'inverse_frequency_weights',
  'la_adaptive',
  'label_smoothing',
  'ldam',
  'ldam_margins',
  'logit_adjustment',
  'reweight',
  'sigmoid_loss',
  'two_rate',
  'weighted_logit_adjustment',
]
