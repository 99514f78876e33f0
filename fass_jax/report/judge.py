"""Fits a classifier on a run's training or held-out images and evaluates it on the test set."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fass_jax import types
from fass_jax.classifiers import CLASSIFIERS, calibrate
from fass_jax.classifiers.base import Classifier, Fitted, Sets, asked, logits, tempered
from fass_jax.classifiers.prior_shift import post_hoc
from fass_jax.data.store import Placed
from fass_jax.engine import devices
from fass_jax.engine.passes import Fold
from fass_jax.nets.base import Network, apply
from fass_jax.recipe.build import Recipe
from fass_jax.recipe.classifier import chosen
from fass_jax.report import metrics, open_set
from fass_jax.types import Array, Outputs, PyTree

log = logging.getLogger('fass_jax')

Images = tuple[Any, Array]  # images as for a fold, labels


class Material(NamedTuple):
  """The inputs for fitting and evaluating a classifier: a pass and the sets."""

  net: Network
  image_shape: tuple[int, ...]
  fold: Fold  # a pass that reads the complete outputs
  train: Images | None  # None: not needed
  held: Images | None  # held-out images
  test: Images
  num_classes: int
  bins: int  # bins of the calibration error
  unknown: Images | None = None  # images of no class, with labels that are not read


class Judge(NamedTuple):
  """A classifier bound to a run's data, for any variables of its network."""

  classifier: Classifier
  fit: Callable[[PyTree], Fitted]  # variables -> fitted
  counts: Callable[[PyTree, Fitted], metrics.Counts]  # counts of the test set, on the device
  shifted: Callable[..., Callable[..., tuple[metrics.Counts, metrics.Counts, Array]]]
  # (variables, fitted, threshold) -> open-set figures; None without an open set
  rejects: Callable[[PyTree, Fitted, float], dict[str, float]] | None = None


def judge(classifier: Classifier, material: Material) -> Judge:
  """Returns a classifier bound to a run's data.

  Args:
    classifier: a result of `classifiers.build`.
    material: the pass and the sets.
  """
  return Judge(
    classifier,
    functools.partial(_fit, classifier, material, _keep_scores(classifier)),
    functools.partial(_count, material, _adds(classifier)),
    functools.partial(_shift_count, classifier, material),
    None if material.unknown is None else functools.partial(_reject, classifier, material),
  )


def of_run(
  config: ConfigDict, kept: Placed, recipe: Recipe, fold: Fold, train: Images, test: Images
) -> Judge | None:
  """Returns the classifier of a run's config, bound to its data; None: the counts of training do.

  Raises:
    UserError: as in `classifiers.build`.
  """
  made = chosen(config, kept.data)
  if not replaces_own(config, made) and kept.data.open_images is None:
    return None
  material = Material(
    recipe.net,
    kept.data.image_shape,
    fold,
    train,
    held_of(kept, recipe.where),
    test,
    kept.data.num_tested,
    config.eval.ece_bins,
    unknown_of(kept, recipe.where),
  )
  return judge(made, material)


def replaces_own(config: ConfigDict, classifier: Classifier) -> bool:
  """Says whether a run's classifier is another than the network's own."""
  return CLASSIFIERS[config.classifier].fitted or classifier.calibrated


def open_figures(judge: Judge, variables: PyTree, fitted: Fitted, at: float) -> dict[str, float]:
  """Returns `open_set.figures` under the names `open_...`; {} without an open set."""
  found = judge.rejects(variables, fitted, at) if judge.rejects else {}
  return {f'open_{name}': value for name, value in found.items()}


def fitted_values(judge: Judge, fitted: Fitted) -> dict[str, float]:
  """Returns the fitted values for reports, such as `tau` and `temperature`."""
  found = judge.classifier.fitted_values(fitted.own)
  if judge.classifier.calibrated:
    found = found | {'temperature': float(fitted.temperature)}
  return found


def held_of(kept: Placed, where: types.Placement) -> Images | None:
  """Returns the held-out images as for a fold, None if there are none."""
  if kept.data.held_labels is None:
    return None
  images = kept.held or devices.copy(kept.data.held_images, where)
  return images, devices.copy(np.int32(kept.data.held_labels), where)


def unknown_of(kept: Placed, where: types.Placement) -> Images | None:
  """Returns the open set as for a fold, None if there is none."""
  if kept.data.open_images is None:
    return None
  images = kept.unknown or devices.copy(kept.data.open_images, where)
  return images, devices.copy(np.zeros(len(kept.data.open_images), np.int32), where)


def _reject(
  classifier: Classifier, m: Material, variables: PyTree, fitted: Fitted, at: float
) -> dict[str, float]:
  """Returns the figures of `open_set.figures`, at a threshold or, for 0, the held-out one."""

  def keep(acc: Any, outs: Outputs, labels: Array, mask: Array) -> Any:
    found, start, fitted = acc
    p = jax.nn.softmax(logits(classifier, outs, fitted), axis=-1)
    rows = jnp.stack([p.max(-1), jnp.asarray(p.argmax(-1), p.dtype)], axis=1)
    # padding rows get a position beyond the end, where the update is dropped
    place = jnp.where(mask, start + jnp.arange(len(mask)), len(found))
    return found.at[place].set(rows, mode='drop'), start + len(mask), fitted

  def scores(images: Images) -> tuple[np.ndarray, np.ndarray]:
    empty = jnp.zeros((len(images[1]), 2)), jnp.zeros((), jnp.int32), fitted
    found = np.asarray(m.fold(keep, empty, variables, *images)[0])
    return found[:, 0], found[:, 1].astype(int)

  assert m.unknown is not None
  if not at:
    assert m.held is not None, 'see data.open_set.check_threshold'
    at = open_set.threshold(scores(m.held)[0], open_set.SHARE)
  return open_set.figures(scores(m.test), np.asarray(m.test[1]), scores(m.unknown), at)


def width_of(material: Material, variables: PyTree) -> int:
  """Returns the feature size of a network, summed over the experts."""
  image = jax.ShapeDtypeStruct((1, *material.image_shape), jnp.result_type(float))
  shape = jax.eval_shape(
    lambda v, x: apply(material.net, v, x, False)[0].features, variables, image
  )
  return int(np.prod(shape.shape))


def _fit(
  classifier: Classifier,
  m: Material,
  keep: Callable[..., PyTree],
  variables: PyTree,
) -> Fitted:
  def over(images: Images, observe: Callable[..., PyTree], acc: PyTree) -> PyTree:
    return m.fold(observe, acc, variables, *images)

  held = None if m.held is None else functools.partial(over, m.held)
  sets = Sets(
    train=functools.partial(over, m.train),  # type: ignore[arg-type]  # not None if needed
    held=held,
    held_labels=None if m.held is None else m.held[1],
    width=width_of(m, variables),
  )
  fitted = Fitted(classifier.fit(variables, sets), jnp.ones(()))
  if not classifier.calibrated:
    return fitted
  assert held is not None and m.held is not None
  labels = m.held[1]
  empty = jnp.zeros((len(labels), m.num_classes)), jnp.zeros((), jnp.int32), fitted
  scores = held(keep, empty)[0]
  implied = classifier.implied
  implied = np.ones(m.num_classes) if implied is None else implied
  with np.errstate(divide='ignore'):
    there = np.log(np.bincount(np.asarray(labels), minlength=m.num_classes) / len(labels))
  shift = jnp.asarray(there - np.log(implied / implied.sum()), float)
  found = calibrate.temperature(scores, labels, shift)
  if float(found) == 1.0:
    log.warning('No temperature was fitted: all held-out images are classified correctly.')
  return fitted._replace(temperature=found)


def _keep_scores(classifier: Classifier) -> Callable[..., PyTree]:
  """Returns the `observe` function that collects the scores of a set in order, `[H, C]`."""

  def keep(acc: Any, outs: Outputs, labels: Array, mask: Array) -> Any:
    scores, start, fitted = acc
    # padding rows get a position beyond the end, where the update is dropped
    place = jnp.where(mask, start + jnp.arange(len(mask)), len(scores))
    new = scores.at[place].set(tempered(classifier, outs, fitted), mode='drop')
    return new, start + len(mask), fitted

  return keep


def _adds(classifier: Classifier) -> Callable[..., PyTree]:
  """Returns the `observe` function that adds a batch to `(counts, fitted)`."""

  def add(acc: Any, outs: Outputs, labels: Array, mask: Array) -> Any:
    counts, fitted = acc
    new = metrics.count(counts, logits(classifier, outs, fitted), labels, mask)
    used = asked(classifier, outs)
    if used is not None:
      new = new._replace(used=counts.used + jnp.where(mask, used, 0).sum())
    return new, fitted

  return add


def _count(
  m: Material, add: Callable[..., PyTree], variables: PyTree, fitted: Fitted
) -> metrics.Counts:
  return m.fold(add, (metrics.init_counts(m.num_classes, m.bins), fitted), variables, *m.test)[0]


def _removed(classifier: Classifier) -> np.ndarray | None:
  """Returns the prior to remove before a known prior is added; None: unknown.

  Scores that are not probabilities can be corrected after calibration. Their implied prior is then
  uniform, because the temperature was fitted for a uniform prior.
  """
  if classifier.moves is not None:
    return classifier.moves[0]
  if classifier.implied is None and classifier.calibrated:
    return np.ones(())
  return classifier.implied


def _shift_count(
  classifier: Classifier, m: Material, targets: np.ndarray, chosen: np.ndarray | None
) -> Callable[[PyTree, Fitted], tuple[metrics.Counts, metrics.Counts, Array]]:
  """Returns `(variables, fitted) -> (counts, own counts, hits)`, in one pass over the test set.

  `counts` are for the classifier, `own counts` for the network as trained. `hits` is int32 `[2, S,
  C]`, correct predictions per class on each of S shifted test sets, without and with correction to
  the prior of that test set; `[1, S, C]` if the scores imply no prior.

  Args:
    classifier: the classifier.
    m: the pass and the sets.
    targets: float `[S, C]`, class shares of the shifted sets; S may be 0.
    chosen: bool `[S, M]`, the test images of each shifted set; None means all.
  """
  removed = _removed(classifier)
  old = None if removed is None else np.broadcast_to(removed, (m.num_classes,))
  add = _adds(classifier)

  def observe(acc: Any, outs: Outputs, labels: Array, mask: Array) -> Any:
    both, own, hits, targets, chosen, start = acc
    both = add(both, outs, labels, mask)
    own = metrics.count_outputs(own, outs, labels, mask)
    guess = logits(classifier, outs, both[1]).argmax(-1)
    shape = len(targets), len(labels)
    on = jnp.broadcast_to(mask[None], shape)
    if chosen is not None:
      place = jnp.minimum(start + jnp.arange(len(labels)), chosen.shape[1] - 1)
      on = on & chosen[:, place]
    guesses = [jnp.broadcast_to(guess[None], shape)]
    if old is not None:
      z = tempered(classifier, outs, both[1])
      guesses.append(
        jax.lax.map(lambda new: post_hoc(z, jnp.asarray(old), new).argmax(-1), targets)
      )
    right = (jnp.stack(guesses) == labels[None, None]) & on[None]
    hits = hits.at[:, :, labels].add(right.astype(jnp.int32))
    return both, own, hits, targets, chosen, start + len(labels)

  def run(variables: PyTree, fitted: Fitted) -> tuple[metrics.Counts, metrics.Counts, Array]:
    empty = metrics.init_counts(m.num_classes, m.bins)
    hits = jnp.zeros((1 if old is None else 2, *targets.shape), jnp.int32)
    some = None if chosen is None else jnp.asarray(chosen)
    acc = (empty, fitted), empty, hits, jnp.asarray(targets, float), some, jnp.zeros((), jnp.int32)
    (counts, _), own, hits, *_ = m.fold(observe, acc, variables, *m.test)
    return counts, own, hits

  return run
