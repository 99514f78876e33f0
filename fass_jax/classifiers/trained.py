"""The network's own trained classifier."""

from __future__ import annotations

from fass_jax.classifiers.base import Classifier, Setting
from fass_jax.nets.base import mean_logits


def build(setting: Setting) -> Classifier:
  """Returns the network's own classifier: the mean of the experts' logits."""
  return Classifier(
    fit=lambda variables, sets: {},
    scores=lambda outs, fitted: mean_logits(outs),
    implied=setting.implied,
    routed=True,
  )
