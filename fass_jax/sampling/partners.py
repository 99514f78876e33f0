"""Which image is mixed in, and how much of it: the two halves of FASS' feature-aware choice.

A partner is `(key, index, labels, matrix, classes) -> positions [n]`, where `index [n]` are the
positions of the stream's own images and `labels [n]` their classes; a ratio is
`(key, matrix, labels, partner_labels) -> lam [n]`. `matrix` is the score matrix of the last
epoch (None where no signal keeps one).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fass_jax.sampling.samplers import draw_by_weight, draw_from_classes, power_weight
from fass_jax.score import mixing_ratio, select_targets
from fass_jax.types import Array, Classes


def random_other_class(key: Array, labels: Array, num_classes: int) -> Array:
  """Draws for each label another class, uniformly over the C - 1 others: int32 `[n]`."""
  shift = jax.random.randint(key, labels.shape, 1, num_classes)
  return (labels + shift) % num_classes


def score_partner(
  key: Array, index: Array, labels: Array, matrix: Array, classes: Classes
) -> Array:
  """Draws an image of the class that each label is most confused with (thesis, 3.2).

  A class without scores yet (a row of zeros) gets a random other class.

  Returns:
    int32 `[n]` positions, uniform over the images of the target class.
  """
  del index
  class_key, image_key = jax.random.split(key)
  # the n rows alone: the whole matrix in every step would show at thousands of classes
  known = matrix[labels].sum(-1) > 0
  fallback = random_other_class(class_key, labels, matrix.shape[0])
  target = jnp.where(known, select_targets(matrix, labels), fallback)
  return draw_from_classes(image_key, classes, target)


def random_partner(
  key: Array, index: Array, labels: Array, matrix: Array | None, classes: Classes
) -> Array:
  """Draws an image of another class, the class uniform over the others ("without FASS").

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
  """Draws images with weight 1 / n_y, the own class too: every class that has images alike.

  Returns:
    int32 `[n]` positions.

  Reference: Park, Hong, Heo, Yun, Choi, CVPR 2022.
  """
  del labels, matrix
  weight = jnp.ones(classes.count.shape, float)
  return draw_by_weight(key, classes, weight, index.shape[0])


def reversed_partner(
  key: Array, index: Array, labels: Array, matrix: Array | None, classes: Classes
) -> Array:
  """Draws images of classes with probability proportional to 1 / n_c, uniform inside the class.

  Returns:
    int32 `[n]` positions.

  Reference: Zhou, Cui, Wei, Chen, CVPR 2020 (the sampler); Zhang, Wei, Zhou, Wu, AAAI 2021 (mixed).
  """
  del labels, matrix
  return draw_by_weight(key, classes, power_weight(classes.count, -1.0), index.shape[0])


def batch_partner(
  key: Array, index: Array, labels: Array, matrix: Array | None, classes: Classes
) -> Array:
  """Takes the images of the same batch in random order, as plain MixUp and CutMix do.

  Returns:
    int32 `[n]` positions.
  """
  del labels, matrix, classes
  return index[batch_rows(key, index.shape[0])]


def batch_rows(key: Array, size: int) -> Array:
  """Draws for each row of a batch another one, as a permutation: int32 `[size]`."""
  return jax.random.permutation(key, size)


def score_ratio(minimum: float) -> Callable[..., Array]:
  """Returns the ratio rule of FASS, `score.mixing_ratio` with a lower bound."""

  def ratio(key: Array, matrix: Array, labels: Array, targets: Array) -> Array:
    del key
    return mixing_ratio(matrix, labels, targets, minimum)

  return ratio


def beta_ratio(alpha: float, per_batch: bool = False) -> Callable[..., Array]:
  """Returns the rule lam ~ Beta(alpha, alpha), one draw a sample or one for the batch."""

  def ratio(key: Array, matrix: Array | None, labels: Array, targets: Array) -> Array:
    del matrix, targets
    shape = () if per_batch else labels.shape
    return jnp.broadcast_to(jax.random.beta(key, alpha, alpha, shape), labels.shape)

  return ratio


def fixed_ratio(value: float) -> Callable[..., Array]:
  """Returns the rule lam = value, in [0, 1]."""

  def ratio(key: Array, matrix: Array | None, labels: Array, targets: Array) -> Array:
    del key, matrix, targets
    return jnp.full(labels.shape, value, float)

  return ratio
