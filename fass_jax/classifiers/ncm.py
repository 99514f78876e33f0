"""Nearest class mean (NCM): predicts the class with the nearest mean of training features.

The features of experts are concatenated, from `[B, E, D]` to `[B, E D]`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.classifiers.base import Classifier, Sets, Setting, in_full
from fass_jax.config.lookup import did_you_mean
from fass_jax.types import Array, Outputs, PyTree, UserError

KINDS = ('cl2n', 'l2n', 'un', 'cosine')


def placed(z: Array, mean: Array, kind: str) -> Array:
  """Returns features normalised for a kind of distance.

  Args:
    z: float `[B, D]`.
    mean: `[D]`, the mean of the training features.
    kind: 'cl2n' (z - mean) / |z - mean|, 'l2n' and 'cosine' z / |z|, 'un' z.

  Returns:
    float `[B, D]`.
  """
  if kind == 'un':
    return z
  z = z - mean[None] if kind == 'cl2n' else z
  return z * jax.lax.rsqrt(jnp.maximum(jnp.square(z).sum(-1, keepdims=True), 1e-24))


def class_sums(z: Array, labels: Array, mask: Array, num_classes: int) -> Array:
  """Returns the sum of the rows per class, `[C, D]`; deterministic on every device."""
  own = jnp.where(mask[:, None], labels[:, None] == jnp.arange(num_classes)[None], False)
  # where instead of a product: a padding row may be nan
  return in_full(jnp.asarray(own, z.dtype).T, jnp.where(mask[:, None], z, 0))


def ncm_fit(z: Array, labels: Array, num_classes: int, kind: str = 'cl2n') -> tuple[Array, Array]:
  """Returns the mean of the features and the mean of the normalised features per class.

  The class means are not normalised again.

  Args:
    z: float `[N, D]`.
    labels: integer `[N]`.
    num_classes: C; every class needs at least one image.
    kind: see `placed`.

  Returns:
    `(mean [D], means [C, D])`.

  Reference: Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition,
  arXiv:1910.09217.
  """
  every, mean = jnp.ones(len(z), bool), z.mean(0)
  count = jnp.bincount(labels, length=num_classes)
  return mean, class_sums(placed(z, mean, kind), labels, every, num_classes) / count[:, None]


def ncm_logits(z: Array, mean: Array, means: Array, kind: str = 'cl2n') -> Array:
  """Returns -|z - mu_c|^2, or cos(z, mu_c) for 'cosine'.

  Args:
    z: float `[B, D]`, features of the network.
    mean: `[D]`, from `ncm_fit`.
    means: `[C, D]`, mu, from `ncm_fit`.
    kind: see `placed`.

  Returns:
    float `[B, C]`.
  """
  z, square = placed(z, mean, kind), jnp.square(means).sum(-1)
  if kind == 'cosine':
    return in_full(z, (means * jax.lax.rsqrt(jnp.maximum(square, 1e-24))[:, None]).T)
  return 2 * in_full(z, means.T) - jnp.square(z).sum(-1, keepdims=True) - square[None]


def joined(outs: Outputs) -> Array:
  """Returns the features of all experts as `[B, E D]`."""
  return outs.features.reshape(outs.features.shape[0], -1)


def build(setting: Setting) -> Classifier:
  """Returns the NCM classifier; `fit` makes one pass over the training set, two for 'cl2n'.

  Raises:
    UserError: if the kind is unknown.
  """
  kind, classes = setting.args.ncm, len(setting.counts)
  if kind not in KINDS:
    raise UserError(f"There is no '{kind}' for {setting.flag}ncm{did_you_mean(kind, KINDS)}")
  counts = jnp.asarray(setting.counts, float)

  def total(acc: Array, outs: Outputs, labels: Array, mask: Array) -> Array:
    return acc + jnp.where(mask[:, None], joined(outs), 0).sum(0)

  def sums(acc: Any, outs: Outputs, labels: Array, mask: Array) -> Any:
    mean, so_far = acc
    return mean, so_far + class_sums(placed(joined(outs), mean, kind), labels, mask, classes)

  def fit(variables: PyTree, sets: Sets) -> PyTree:
    mean = jnp.zeros(sets.width)
    if kind == 'cl2n':
      mean = sets.train(total, mean) / counts.sum()
    mean, found = sets.train(sums, (mean, jnp.zeros((classes, sets.width))))
    return {'mean': mean, 'means': found / counts[:, None]}

  def scores(outs: Outputs, fitted: PyTree) -> Array:
    return ncm_logits(joined(outs), fitted['mean'], fitted['means'], kind)

  return Classifier(fit, scores, reads_train=True)
