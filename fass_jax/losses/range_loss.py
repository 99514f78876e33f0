"""Range loss: pulls the farthest pairs of a class together and pushes the nearest classes apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array

EPS = 1e-8  # keeps values and gradients finite for equal features, as in public implementations


def range_loss(
  features: Array,
  labels: Array,
  mask: Array,
  k: int,
  margin: float,
  intra: float,
  inter: float,
) -> Array:
  """Returns a sum_c k_c / sum_j 1/d_cj + b max(M - min_{p != q} |m_p - m_q|, 0).

  d_c1 ... d_ck are the k largest distances between two samples of class c in the batch, so the
  first term is a sum of harmonic means. k_c is k, or the number of pairs if class c has fewer. m_c
  is the mean feature of class c. A class with fewer than two samples enters neither term. The loss
  needs batches with several samples from several classes.

  Args:
    features: float `[B, D]`.
    labels: integer `[B]`.
    mask: `[B]`, 0 excludes a sample.
    k: >= 1, static.
    margin: M > 0; it should scale with the norm of the features.
    intra: a >= 0.
    inter: b >= 0.

  Returns:
    A float32 scalar >= 0; 0 if no class has two samples in the batch.

  Reference: Zhang et al., Range Loss for Deep Face Recognition with Long-tail, arXiv:1611.08976.
  As in public implementations, distances are not squared.
  """
  on = jnp.asarray(mask, bool)
  # where instead of a product: a masked sample may be inf or nan, and 0 * nan is nan
  x = jnp.where(on[:, None], jnp.asarray(features, float), 0.0)
  same = (labels[:, None] == labels[None, :]) & on[:, None] & on[None, :]
  # the first sample's position represents its class: the number of classes present is not static
  first = jnp.argmax(same, axis=1)
  place = jnp.arange(len(labels))
  member = on[None, :] & (first[None, :] == place[:, None])  # [place, sample]
  present = member.sum(1) >= 2
  return intra * _ranges(x, same, member, k) + inter * _nearest(x, member, present, margin)


def _squares(x: Array) -> Array:
  """Returns |x_i - x_j|^2 `[B, B]` without gradient, for choosing pairs only."""
  x = jax.lax.stop_gradient(x)
  length = jnp.square(x).sum(1)
  inner = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(length[:, None] + length[None, :] - 2.0 * inner, 0.0)


def _distance(x: Array, y: Array) -> Array:
  return jnp.sqrt(jnp.square(x - y).sum(-1) + EPS)


def _take(x: Array, index: Array) -> Array:
  """Returns x[index] as a matrix product, so that its gradient is deterministic on accelerators."""
  chosen = jax.nn.one_hot(index, len(x), dtype=x.dtype)
  return jnp.matmul(chosen, x, precision=jax.lax.Precision.HIGHEST)


def _ranges(x: Array, same: Array, member: Array, k: int) -> Array:
  """Returns the harmonic mean of the k largest distances per class, summed over the classes."""
  n = len(x)
  pairs = jnp.where(jnp.triu(same, 1), _squares(x), -1.0)
  # a class's k farthest pairs are among the k farthest pairs of its samples
  wide, right = jax.lax.top_k(pairs, min(k, n))  # [B, k]
  kept = wide.shape[1]
  flat = jnp.where(jnp.repeat(member, kept, axis=1), wide.reshape(1, -1), -1.0)
  widest, at = jax.lax.top_k(flat, min(k, n * kept))  # [place, k]
  is_pair = widest >= 0
  d = _distance(_take(x, at // kept), _take(x, right.reshape(-1)[at]))
  inverse = jnp.where(is_pair, 1.0 / (d + EPS), 0.0).sum(1)
  return jnp.where(inverse > 0, is_pair.sum(1) / jnp.where(inverse > 0, inverse, 1.0), 0.0).sum()


def _nearest(x: Array, member: Array, present: Array, margin: float) -> Array:
  """Returns max(margin - distance, 0) for the two nearest class means."""
  share = jnp.asarray(member, float)
  means = jnp.matmul(share, x, precision=jax.lax.Precision.HIGHEST)
  means = means / jnp.maximum(share.sum(1), 1.0)[:, None]
  apart = jnp.triu(present[:, None] & present[None, :], 1)
  nearest = jnp.argmin(jnp.where(apart, _squares(means), jnp.inf))
  p, q = nearest // len(x), nearest % len(x)
  return jnp.where(apart.any(), jnp.maximum(margin - _distance(means[p], means[q]), 0.0), 0.0)
