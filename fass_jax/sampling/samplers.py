"""Samplers: functions that draw image positions (never pixels) for a stream."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.counts import effective_number
from fass_jax.types import Array, Classes


def index_classes(
  labels: np.ndarray,
  num_classes: int,
  neighbours: np.ndarray | None = None,
  there: np.ndarray | None = None,
  scale: tuple[float, float] | None = None,
) -> Classes:
  """Returns the class index: `order[start[c]:start[c] + count[c]]` are the images of class c.

  Args:
    labels: integer `[N]`, in 0 .. C-1.
    num_classes: C.
    neighbours: bool `[C, C]`, True for two classes that are neighbours; None for none.
    there: bool `[N]`, False: the image is of no class and last in `order`; None: all are of one.
    scale: mean and standard deviation of the numbers whose bins are the labels; None for classes.
  """
  if there is not None:
    labels = np.where(there, labels, num_classes)
  count = np.bincount(labels, minlength=num_classes)[:num_classes]
  start = np.concatenate([[0], np.cumsum(count)[:-1]])
  order = np.argsort(labels, kind='stable')
  near = None if neighbours is None else jnp.asarray(neighbours, bool)
  number, first, place = (jnp.asarray(x, jnp.int32) for x in (count, start, order))
  spread = None if scale is None else jnp.asarray(scale, float)
  return Classes(number, first, place, near, spread)


def permutation_plan(
  key: Array, classes: Classes, epoch: Array, steps: int, n: int
) -> tuple[Array, Array]:
  """Draws an epoch with every image once, in random order.

  The last batch is padded with the first images of the next epoch's permutation (and of later ones
  if the batch is larger than the set), with a mask of False.

  Args:
    key: the run's key for this stream; the epoch is folded in here.
    classes: the class index.
    epoch: int32 scalar.
    steps: batches per epoch, ceil(N / n).
    n: batch size.

  Returns:
    int32 `[steps, n]` positions and bool `[steps, n]`, False for padding.
  """
  total = classes.order.shape[0]
  orders = [
    jax.random.permutation(jax.random.fold_in(key, epoch + i), total).astype(jnp.int32)
    for i in range(max(2, -(-steps * n // total)))
  ]
  index = jnp.concatenate(orders)[: steps * n].reshape(steps, n)
  return index, (jnp.arange(steps * n) < total).reshape(steps, n)


def draw_from_classes(key: Array, classes: Classes, labels: Array) -> Array:
  """Draws an image of each given class, uniformly.

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
  """Draws images with replacement: the class by `weight`, the image uniformly within the class.

  Args:
    key: a PRNG key.
    classes: the class index.
    weight: float `[C]`, >= 0, proportional to the probability of each class.
    n: number of images.

  Returns:
    int32 `[n]` positions.
  """
  class_key, image_key = jax.random.split(key)
  weight = jnp.where(classes.count > 0, weight, 0.0)
  edges = jnp.cumsum(weight)
  u = jax.random.uniform(class_key, (n,)) * edges[-1]
  labels = jnp.searchsorted(edges, u, side='right').astype(jnp.int32)
  # u can round up to the last edge; then use the last class with a weight above 0
  last = jnp.max(jnp.where(weight > 0, jnp.arange(weight.shape[0]), 0))
  return draw_from_classes(image_key, classes, jnp.minimum(labels, last))


def rebalanced_weight(classes: Classes, unit: str, beta: float = 0.0) -> Array:
  """Returns the class weights of effective-number resampling.

  With unit 'sample', each image of class k has weight 1/E(n_k), so the class has weight
  n_k / E(n_k), which is nearly uniform. With unit 'class', the class has weight 1/E(n_k), which
  reverses the long tail.

  Args:
    classes: the class index.
    unit: 'sample' or 'class'.
    beta: beta of the effective number, in [0, 1); 0 means (N - 1) / N.

  Returns:
    float32 `[C]`, >= 0, not normalised.
  """
  beta = beta or 1.0 - 1.0 / classes.order.shape[0]
  inverse = 1.0 / jnp.maximum(effective_number(classes.count, beta), 1e-6)
  return classes.count * inverse if unit == 'sample' else inverse


def power_weight(count: Array, power: Array | float) -> Array:
  """Returns (n_c / max_k n_k)^q per class; 0 for an empty class.

  The share of class c is n_c^q / sum_k n_k^q: q = 1 is natural sampling, 0.5 square-root sampling,
  0 class-balanced sampling, -1 reversed sampling.

  Args:
    count: `[C]`, training images per class.
    power: q, may be traced.

  Returns:
    float32 `[C]`, >= 0, not normalised.

  Reference: q in [0, 1]: Kang et al., Decoupling Representation and Classifier for Long-Tailed
  Recognition, arXiv:1910.09217; q = -1: Zhou et al., BBN: Bilateral-Branch Network with Cumulative
  Learning for Long-Tailed Visual Recognition, arXiv:1912.02413.
  """
  n = jnp.asarray(count, float)
  return jnp.where(n > 0, (jnp.maximum(n, 1.0) / n.max()) ** power, 0.0)


def progressive_weight(count: Array, share: Array | float) -> Array:
  """Returns (1 - s) n_c / N + s / C, from natural (s = 0) to class-balanced sampling (s = 1).

  Args:
    count: `[C]`, training images per class; C counts only classes with images.
    share: s in [0, 1], usually epoch / (epochs - 1); may be traced.

  Returns:
    float32 `[C]`, sum 1; 0 for an empty class.

  Reference: Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition,
  arXiv:1910.09217.
  """
  n = jnp.asarray(count, float)
  return (1.0 - share) * n / n.sum() + share * (n > 0) / (n > 0).sum()


def draw_groups(key: Array, classes: Classes, n: int, images: int) -> Array:
  """Draws a P x K batch: P classes with K images each, class by class.

  The classes are uniform over the classes with images, without replacement if there are at least P.
  The images of a class are drawn without replacement if it has at least K.

  Args:
    key: a PRNG key.
    classes: the class index.
    n: batch size, P K; if K does not divide n, the last class has fewer images.
    images: K, >= 1.

  Returns:
    int32 `[n]` positions.

  Reference: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification,
  arXiv:1703.07737.
  """
  class_key, image_key = jax.random.split(key)
  groups, total = -(-n // images), classes.count.shape[0]
  noise = jax.random.uniform(class_key, (-(-groups // total), total))
  # a new random order after all classes were drawn; empty classes come last and are skipped
  order = jnp.argsort(jnp.where(classes.count > 0, noise, 2.0), axis=1)
  filled = (classes.count > 0).sum()
  turn, place = jnp.divmod(jnp.arange(groups), filled)
  labels = order[jnp.minimum(turn, order.shape[0] - 1), place]
  count = classes.count[labels]
  u = jax.random.uniform(image_key, (images, groups))
  ranks: list[Array] = []
  for j in range(images):
    left = jnp.where(count > j, count - j, count)
    rank = jnp.minimum(jnp.floor(u[j] * left).astype(jnp.int32), left - 1)
    for taken in jnp.sort(jnp.stack(ranks), axis=0) if ranks else ():
      rank += ((rank >= taken) & (count > j)).astype(jnp.int32)
    ranks.append(rank)
  index = classes.order[classes.start[labels][:, None] + jnp.stack(ranks, axis=1)]
  return index.reshape(-1)[:n]


def power_plan(
  key: Array, classes: Classes, epoch: Array, steps: int, n: int, power: Array
) -> tuple[Array, Array]:
  """Draws an epoch with class shares ~ n_c^q: a permutation if q = 1, else with replacement.

  A power that falls from 1 to 0 late in a run is deferred resampling (DRS); before, every image is
  drawn once per epoch.

  Args:
    key: the run's key for this stream; the epoch is folded in here.
    classes: the class index.
    epoch: int32 scalar.
    steps: batches per epoch.
    n: batch size.
    power: q of this epoch, may be traced.

  Returns:
    int32 `[steps, n]` positions and bool `[steps, n]`, as in `permutation_plan`; the mask is all
    True if q is not 1.

  Reference: deferred resampling: Cao et al., Learning Imbalanced Datasets with
  Label-Distribution-Aware Margin Loss, arXiv:1906.07413.
  """
  index, mask = permutation_plan(key, classes, epoch, steps, n)
  drawn_key = jax.random.fold_in(jax.random.fold_in(key, epoch), 1)
  drawn = draw_by_weight(drawn_key, classes, power_weight(classes.count, power), steps * n)
  plain = power == 1
  return jnp.where(plain, index, drawn.reshape(steps, n)), jnp.where(plain, mask, True)
