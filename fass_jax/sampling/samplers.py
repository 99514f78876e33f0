"""Which images a stream draws: plans over positions, never over pixels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.counts import effective_number
from fass_jax.types import Array, Classes


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


def power_weight(count: Array, power: Array | float) -> Array:
  """Returns n_c^q of each class, relative to the largest class; 0 for a class without images.

  The share of class c is n_c^q / sum_k n_k^q: q = 1 draws images as they are, 0.5 is square-root
  sampling, 0 is class-balanced, -1 is reversed.

  Args:
    count: `[C]`, training images of each class.
    power: q, may be traced.

  Returns:
    float32 `[C]`, >= 0, not normalised.

  Reference: Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis, ICLR 2020 (q in [0, 1]); Zhou, Cui,
  Wei, Chen, CVPR 2020 (q = -1).
  """
  n = jnp.asarray(count, float)
  return jnp.where(n > 0, (jnp.maximum(n, 1.0) / n.max()) ** power, 0.0)


def progressive_weight(count: Array, share: Array | float) -> Array:
  """Returns (1 - s) n_c / N + s / C, from the images' own distribution to the balanced one.

  Args:
    count: `[C]`, training images of each class.
    share: s in [0, 1], may be traced: epoch / (epochs - 1).

  Returns:
    float32 `[C]` that sums to 1 where no class is empty.

  Reference: Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis, ICLR 2020.
  """
  n = jnp.asarray(count, float)
  return (1.0 - share) * n / n.sum() + share * (n > 0) / (n > 0).sum()


def draw_groups(key: Array, classes: Classes, n: int, images: int) -> Array:
  """Draws P classes and K images of each (P x K), one class after another.

  The classes are different ones, uniform over those that have images, as long as there are P; the
  images of a class are different ones as long as it has K.

  Args:
    key: a PRNG key.
    classes: the class index.
    n: P K, how many; what P whole groups have too much is left out.
    images: K, >= 1.

  Returns:
    int32 `[n]` positions.

  Reference: Hermans, Beyer, Leibe, 2017.
  """
  class_key, image_key = jax.random.split(key)
  groups, total = -(-n // images), classes.count.shape[0]
  noise = jax.random.uniform(class_key, (-(-groups // total), total))
  # a new order of the classes each time that all were drawn; empty ones last, and passed over
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
  """Plans an epoch whose classes have shares n_c^q: a permutation where q = 1, else draws.

  A power that falls from 1 to 0 late in a run is deferred resampling (DRS): until then every image
  is seen once an epoch, as without it.

  Args:
    key: the run's key for this stream; the epoch is folded in here.
    classes: the class index.
    epoch: int32 scalar.
    steps: batches in an epoch.
    n: batch size.
    power: q of this epoch, may be traced.

  Returns:
    As `permutation_plan`; every draw counts where q is not 1.

  Reference: Cao, Wei, Gaidon, Arechiga, Ma, NeurIPS 2019 (deferred).
  """
  index, mask = permutation_plan(key, classes, epoch, steps, n)
  drawn_key = jax.random.fold_in(jax.random.fold_in(key, epoch), 1)
  drawn = draw_by_weight(drawn_key, classes, power_weight(classes.count, power), steps * n)
  plain = power == 1
  return jnp.where(plain, index, drawn.reshape(steps, n)), jnp.where(plain, mask, True)
