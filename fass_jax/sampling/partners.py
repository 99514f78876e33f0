"""Partners for mixing, and mixing ratios.

A partner function is `(key, index, labels, matrix, classes) -> positions [n]`, where `index [n]`
are the positions of the stream's images and `labels [n]` their classes. A ratio function is
`(key, matrix, labels, partner_labels) -> lam [n]`, and a function that chooses mixes
`(key, matrix, labels, lam) -> bool [n]`. `matrix` is the score matrix after the last
epoch, or None without such a signal.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fass_jax.sampling.samplers import draw_by_weight, draw_from_classes, power_weight
from fass_jax.score import draw_targets, mixing_ratio, select_targets
from fass_jax.types import Array, Classes


def random_other_class(key: Array, labels: Array, num_classes: int) -> Array:
  """Draws another class per label, uniformly over the C - 1 other classes: int32 `[n]`."""
  shift = jax.random.randint(key, labels.shape, 1, num_classes)
  return (labels + shift) % num_classes


def score_partner(
  key: Array, index: Array, labels: Array, matrix: Array, classes: Classes
) -> Array:
  """Draws an image of the target class of each label (thesis, 3.2), see `score.select_targets`.

  For a class without scores (a row of zeros), the target is a random other class.

  Returns:
    int32 `[n]` positions, uniform over the images of the target class.
  """
  del index
  class_key, image_key = jax.random.split(key)
  # read only n rows: the whole matrix in every step would be slow for thousands of classes
  known = matrix[labels].sum(-1) > 0
  fallback = random_other_class(class_key, labels, matrix.shape[0])
  target = jnp.where(known, select_targets(matrix, labels), fallback)
  return draw_from_classes(image_key, classes, target)


def score_drawn_partner(
  key: Array, index: Array, labels: Array, matrix: Array, classes: Classes
) -> Array:
  """Draws an image of a class that is drawn from the label's row of S, see `score.draw_targets`.

  Returns:
    int32 `[n]` positions, uniform over the images of the drawn class.
  """
  del index
  class_key, image_key = jax.random.split(key)
  return draw_from_classes(image_key, classes, draw_targets(class_key, matrix, labels))


def random_partner(
  key: Array, index: Array, labels: Array, matrix: Array | None, classes: Classes
) -> Array:
  """Draws an image of another class, uniform over the other classes ("without FASS").

  Returns:
    int32 `[n]` positions.
  """
  del index, matrix
  class_key, image_key = jax.random.split(key)
  target = random_other_class(class_key, labels, classes.count.shape[0])
  return draw_from_classes(image_key, classes, target)


def class_uniform_partner(
  key: Array, index: Array, labels: Array, matrix: Array | None, classes: Classes
) -> Array:
  """Draws images with weight 1 / n_y, i.e. uniform over all classes, the label's class included.

  Returns:
    int32 `[n]` positions.

  Reference: Park et al., The Majority Can Help The Minority: Context-rich Minority Oversampling for
  Long-tailed Classification, arXiv:2112.00412.
  """
  del labels, matrix
  weight = jnp.ones(classes.count.shape, float)
  return draw_by_weight(key, classes, weight, index.shape[0])


def reversed_partner(
  key: Array, index: Array, labels: Array, matrix: Array | None, classes: Classes
) -> Array:
  """Draws a class with probability ~ 1 / n_c, then an image uniformly within the class.

  Returns:
    int32 `[n]` positions.

  Reference: sampler: Zhou et al., BBN: Bilateral-Branch Network with Cumulative Learning for
  Long-Tailed Visual Recognition, arXiv:1912.02413; with mixing: Zhang et al., Bag of Tricks for
  Long-Tailed Visual Recognition with Deep Convolutional Neural Networks, AAAI 2021.
  """
  del labels, matrix
  return draw_by_weight(key, classes, power_weight(classes.count, -1.0), index.shape[0])


def batch_partner(
  key: Array, index: Array, labels: Array, matrix: Array | None, classes: Classes
) -> Array:
  """Returns the images of the same batch in random order, as in plain MixUp and CutMix.

  Returns:
    int32 `[n]` positions.
  """
  del labels, matrix, classes
  return index[batch_rows(key, index.shape[0])]


def batch_rows(key: Array, size: int) -> Array:
  """Draws a permutation of the rows of a batch: int32 `[size]`."""
  return jax.random.permutation(key, size)


def score_ratio(minimum: float) -> Callable[..., Array]:
  """Returns the mixing ratio of FASS, `score.mixing_ratio` with a lower bound."""

  def ratio(key: Array, matrix: Array, labels: Array, targets: Array) -> Array:
    del key
    return mixing_ratio(matrix, labels, targets, minimum)

  return ratio


def beta_ratio(alpha: float, per_batch: bool = False) -> Callable[..., Array]:
  """Returns the mixing ratio lam ~ Beta(alpha, alpha), with one draw per sample or per batch."""

  def ratio(key: Array, matrix: Array | None, labels: Array, targets: Array) -> Array:
    del matrix, targets
    shape = () if per_batch else labels.shape
    return jnp.broadcast_to(jax.random.beta(key, alpha, alpha, shape), labels.shape)

  return ratio


def fixed_ratio(value: float) -> Callable[..., Array]:
  """Returns the mixing ratio lam = value, in [0, 1]."""

  def ratio(key: Array, matrix: Array | None, labels: Array, targets: Array) -> Array:
    del key, matrix, targets
    return jnp.full(labels.shape, value, float)

  return ratio


def keep_confused(key: Array, matrix: Array, labels: Array, lam: Array) -> Array:
  """Keeps a mix of an image of class y with probability 1 - S[y, y]: bool `[n]`."""
  del lam
  return jax.random.uniform(key, labels.shape) >= matrix[labels, labels]


def keep_majority(key: Array, matrix: Array | None, labels: Array, lam: Array) -> Array:
  """Keeps the mixes whose first image has a share of at least 1/2: bool `[n]`.

  The single label of FASS names the smaller part of the others.
  """
  del key, matrix, labels
  return lam >= 0.5
