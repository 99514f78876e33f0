"""Which images a stream draws: plans over positions, never over pixels."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.counts import effective_number
from fass_jax.types import Array, Classes, Sampler, Time


def index_classes(labels: np.ndarray, num_classes: int) -> Classes:
  """Builds the class index: `order[start[c]:start[c] + count[c]]` are the images of class c.

  Args:
    labels: integer `[N]`, in 0 .. C-1.
    num_classes: C.
  """
  count = np.bincount(labels, minlength=num_classes)
  start = np.concatenate([[0], np.cumsum(count)[:-1]])
  order = np.argsort(labels, kind='stable')
  return Classes(*(jnp.asarray(x, jnp.int32) for x in (count, start, order)))


def permutation_plan(
  key: Array, classes: Classes, epoch: Array, steps: int, n: int
) -> tuple[Array, Array]:
  """Plans an epoch that shows every image once, in random order.

  The last batch is filled from the head of the next epoch's permutation (a batch that is larger
  than the set from those after it too); the mask is 0 there.

  Args:
    key: the run's key for this stream; the epoch is folded in here.
    classes: the class index.
    epoch: int32 scalar.
    steps: batches in an epoch, ceil(N / n).
    n: batch size.

  Returns:
    int32 `[steps, n]` positions and bool `[steps, n]`, True where the image counts.
  """
  total = classes.order.shape[0]
  orders = [
    jax.random.permutation(jax.random.fold_in(key, epoch + i), total).astype(jnp.int32)
    for i in range(max(2, -(-steps * n // total)))
  ]
  index = jnp.concatenate(orders)[: steps * n].reshape(steps, n)
  return index, (jnp.arange(steps * n) < total).reshape(steps, n)


def draw_from_classes(key: Array, classes: Classes, labels: Array) -> Array:
  """Draws a uniformly random image of each given class.

  Args:
    key: a PRNG key.
    classes: the class index; no class in `labels` may be empty.
    labels: integer `[n]`.

  Returns:
    int32 `[n]` positions.
  """
  count = classes.count[labels]
  rank = jnp.floor(jax.random.uniform(key, labels.shape) * count).astype(jnp.int32)
  # float32 can round u * count up to count itself
  return classes.order[classes.start[labels] + jnp.minimum(rank, count - 1)]


def draw_by_weight(key: Array, classes: Classes, weight: Array, n: int) -> Array:
  """Draws images with replacement: the class by `weight`, the image uniformly inside it.

  Args:
    key: a PRNG key.
    classes: the class index.
    weight: float `[C]`, >= 0, proportional to the probability of each class.
    n: how many.

  Returns:
    int32 `[n]` positions.
  """
  class_key, image_key = jax.random.split(key)
  weight = jnp.where(classes.count > 0, weight, 0.0)
  edges = jnp.cumsum(weight)
  u = jax.random.uniform(class_key, (n,)) * edges[-1]
  labels = jnp.searchsorted(edges, u, side='right').astype(jnp.int32)
  # u can round up to the last edge itself: the last class with weight takes it
  last = jnp.max(jnp.where(weight > 0, jnp.arange(weight.shape[0]), 0))
  return draw_from_classes(image_key, classes, jnp.minimum(labels, last))


def rebalanced_weight(classes: Classes, unit: str, beta: float = 0.0) -> Array:
  """Returns the class weights of effective-number resampling.

  unit 'sample': every image of class k has weight 1/E(n_k), so the class has n_k / E(n_k), which
  is nearly uniform; unit 'class': the class itself has probability proportional to 1/E(n_k),
  which reverses the tail.

  Args:
    classes: the class index.
    unit: 'sample' or 'class'.
    beta: of the effective number, in [0, 1); 0 stands for (N - 1) / N.

  Returns:
    float32 `[C]`, >= 0, not normalised.
  """
  beta = beta or 1.0 - 1.0 / classes.order.shape[0]
  inverse = 1.0 / jnp.maximum(effective_number(classes.count, beta), 1e-6)
  return classes.count * inverse if unit == 'sample' else inverse


def _effective(unit: str) -> Callable[[float], Sampler]:
  def build(beta: float) -> Sampler:
    def draw(key: Array, classes: Classes, n: int, t: Time) -> Array:
      del t
      return draw_by_weight(key, classes, rebalanced_weight(classes, unit, beta), n)

    return Sampler('step', draw)

  return build


def _class_balanced(key: Array, classes: Classes, n: int, t: Time) -> Array:
  del t
  return draw_by_weight(key, classes, jnp.ones(classes.count.shape), n)


# name: beta of the effective number -> sampler
SAMPLERS: dict[str, Callable[[float], Sampler]] = {
  'permutation': lambda beta: Sampler('epoch', permutation_plan),
  'class_balanced': lambda beta: Sampler('step', _class_balanced),
  'effective_number': _effective('sample'),
  'effective_number_class': _effective('class'),
  'natural': lambda beta: Sampler('copy'),
}
