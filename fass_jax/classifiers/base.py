"""The interface of test-time classifiers: fitted arrays, and scores from outputs and arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fass_jax.classifiers.prior_shift import post_hoc
from fass_jax.nets.base import experts_used
from fass_jax.types import Array, Outputs, PyTree, UserError


class Setting(NamedTuple):
  """The properties of a run that a classifier may depend on."""

  args: ConfigDict  # the section `classifier_args`
  flag: str  # prefix of the section's keys in messages: '--config.classifier_args.' or '--'
  net: ConfigDict  # the section `net`
  implied: np.ndarray  # float64 [C], the class prior that the network's logits imply
  classes: Sequence[str]  # C names
  counts: Sequence[int]  # [C], training images per class
  held: bool  # True: the run has held-out images


class Sets(NamedTuple):
  """Passes over the training images and the held-out images, never over the test set.

  A pass is `(observe, acc) -> acc` with `observe(acc, outs, labels [B], mask [B]) -> acc`, see
  `passes.make_fold`. Each `observe` function is compiled once, so `build` defines it, not `fit`.
  """

  train: Callable[[Callable[..., PyTree], PyTree], PyTree]
  held: Callable[[Callable[..., PyTree], PyTree], PyTree] | None  # held-out images
  held_labels: Array | None  # int32 [H]
  width: int  # feature size, summed over the experts


class Classifier(NamedTuple):
  """A classifier that needs no training."""

  fit: Callable[[PyTree, Sets], PyTree]  # (variables of the network, sets) -> fitted arrays
  scores: Callable[[Outputs, PyTree], Array]  # (outs, fitted) -> float [B, C]
  # the priors that `post_hoc` removes from the scores and adds to them, each [C]
  moves: tuple[np.ndarray, np.ndarray] | None = None
  implied: np.ndarray | None = None  # [C], the prior that the scores imply; None: unknown
  # (fitted) -> the fitted values to report, by name
  fitted_values: Callable[[PyTree], dict[str, float]] = lambda fitted: {}
  calibrated: bool = False  # True: a fitted temperature divides the scores
  routed: bool = False  # True: the scores come from the experts that the router selects
  reads_train: bool = False  # True: `fit` makes a pass over the training images


class Fitted(NamedTuple):
  """The fitted arrays of a classifier and its temperature."""

  own: PyTree
  temperature: Array  # scalar, > 0; 1 without calibration


def needs_held(setting: Setting, what: str, instead: str) -> None:
  """Checks that the run has held-out images.

  Args:
    setting: the properties of the run.
    what: the value chosen on held-out images, for the message.
    instead: the alternative without held-out images, for the message.

  Raises:
    UserError: if the run has no held-out images.
  """
  if not setting.held:
    raise UserError(
      f'{what} is chosen on images held out from training, and this run has none: train with '
      f'--config.data.held_out=0.1, or {instead}.'
    )


def tempered(classifier: Classifier, outs: Outputs, fitted: Fitted) -> Array:
  """Returns the scores divided by the temperature, `[B, C]`, without a change of prior."""
  return classifier.scores(outs, fitted.own) / fitted.temperature


def logits(classifier: Classifier, outs: Outputs, fitted: Fitted) -> Array:
  """Returns a classifier's logits with temperature and change of prior, float `[B, C]`."""
  z = tempered(classifier, outs, fitted)
  return z if classifier.moves is None else post_hoc(z, *map(jnp.asarray, classifier.moves))


def asked(classifier: Classifier, outs: Outputs) -> Array | None:
  """Returns the number of experts used per image, `[B]`; None without a router."""
  return experts_used(outs) if classifier.routed and outs.route is not None else None


def number(setting: Setting, key: str, text: Any) -> float:
  """Returns the value of a key as a finite number >= 0.

  Raises:
    UserError: if the value is not such a number.
  """
  try:
    value = float(text)
  except ValueError:
    value = -1.0
  if not 0 <= value < float('inf'):
    raise UserError(f"{setting.flag}{key}={text} is neither a number of 0 or more nor 'auto'.")
  return value


def in_full(a: Array, b: Array) -> Array:
  """Returns the matrix product in full precision, without TF32 on GPUs."""
  return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
