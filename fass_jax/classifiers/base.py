"""What a classifier at test time is: fitted arrays, and a pure function of outputs and them."""

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
  """What is known of a run before a classifier is fitted on it."""

  args: ConfigDict  # the section `classifier_args`
  flag: str  # how the user writes one of its keys: '--config.classifier_args.' or '--'
  net: ConfigDict  # the section `net`
  implied: np.ndarray  # float64 [C], the class prior that the network's logits imply
  classes: Sequence[str]
  counts: Sequence[int]  # [C], training images of each class
  held: bool  # whether a part of the training set is held out


class Sets(NamedTuple):
  """Passes over what a classifier may be fitted on: never the test set.

  A pass is `(observe, acc) -> acc`, `observe(acc, outs, labels [B], mask [B]) -> acc` as of
  `passes.make_fold`; an `observe` is one program, so it is made once and not in `fit`.
  """

  train: Callable[[Callable[..., PyTree], PyTree], PyTree]
  held: Callable[[Callable[..., PyTree], PyTree], PyTree] | None  # the held-out part
  held_labels: Array | None  # int32 [H]
  width: int  # numbers in the features of an image, those of all experts together


class Classifier(NamedTuple):
  """A classifier that needs no training."""

  fit: Callable[[PyTree, Sets], PyTree]  # (variables of the network, sets) -> fitted arrays
  scores: Callable[[Outputs, PyTree], Array]  # (outs, fitted) -> float [B, C]
  # the priors that `post_hoc` takes out of the scores and puts in, each [C]
  moves: tuple[np.ndarray, np.ndarray] | None = None
  implied: np.ndarray | None = None  # the prior that the scores imply, [C]; None: not known
  fitted_values: Callable[[PyTree], dict[str, float]] = (
    lambda fitted: {}
  )  # for people: what was fitted
  calibrated: bool = False  # whether the scores are divided by a fitted temperature
  routed: bool = False  # whether the scores are of the experts that a router asks
  reads_train: bool = False  # whether `fit` passes the training images


class Fitted(NamedTuple):
  """A classifier's arrays."""

  own: PyTree
  temperature: Array  # scalar, > 0; 1 without calibration


def needs_held(setting: Setting, what: str, instead: str) -> None:
  """Makes sure that there is a held-out part.

  Args:
    setting: of the run.
    what: what is chosen there.
    instead: what to do without one.

  Raises:
    UserError: if there is none.
  """
  if not setting.held:
    raise UserError(
      f'{what} is chosen on a held-out part of the training set, and this run has none: train '
      f'with --config.data.held_out=0.1, or {instead}.'
    )


def tempered(classifier: Classifier, outs: Outputs, fitted: Fitted) -> Array:
  """Returns the scores over the temperature, `[B, C]`, before any prior is moved."""
  return classifier.scores(outs, fitted.own) / fitted.temperature


def logits(classifier: Classifier, outs: Outputs, fitted: Fitted) -> Array:
  """Returns the logits of a classifier, float `[B, C]`."""
  z = tempered(classifier, outs, fitted)
  return z if classifier.moves is None else post_hoc(z, *map(jnp.asarray, classifier.moves))


def asked(classifier: Classifier, outs: Outputs) -> Array | None:
  """Returns how many experts a router asks, `[B]`; None where nobody is asked."""
  return experts_used(outs) if classifier.routed and outs.route is not None else None


def number(setting: Setting, key: str, text: Any) -> float:
  """Reads a key as a number of 0 or more.

  Raises:
    UserError: if it is none.
  """
  try:
    value = float(text)
  except ValueError:
    value = -1.0
  if not 0 <= value < float('inf'):
    raise UserError(f"{setting.flag}{key}={text} is neither a number of 0 or more nor 'auto'.")
  return value


def in_full(a: Array, b: Array) -> Array:
  """Returns the matrix product without the short factors that some GPUs would use."""
  return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
