"""Range loss: draws the widest pairs of a class together and the nearest classes apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array

EPS = 1e-8  # inside the root and under 1, as the public ports have it: equal features are finite


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
  first term is the sum of their harmonic means; m_c is the mean of its samples. A class with
  fewer than two samples has neither ranges nor a mean; where a class has fewer than k pairs, k_c
  is their number. Batches of several classes with several samples each are what it is made for.

  Args:
    features: float `[B, D]`.
    labels: integer `[B]`.
    mask: `[B]`, 0 leaves a sample out.
    k: >= 1, static.
    margin: M > 0; it has to grow with the length of the features.
    intra: a >= 0.
    inter: b >= 0.

  Returns:
    A float32 scalar >= 0; 0 for a batch without two samples of a class.

  Reference: Zhang, Fang, Wen, Li, Qiao, ICCV 2017; distances are not squared, as in public code.
  """
  on = jnp.asarray(mask, bool)
  # where, not a product: a masked sample may hold inf or nan
  x = jnp.where(on[:, None], jnp.asarray(features, float), 0.0)
  same = (labels[:, None] == labels[None, :]) & on[:, None] & on[None, :]
  # a class has its place where its first sample stands: shapes know neither C nor the classes
  first = jnp.argmax(same, axis=1)
  place = jnp.arange(len(labels))
  member = on[None, :] & (first[None, :] == place[:, None])  # [place, sample]
  present = member.sum(1) >= 2
  return intra * _ranges(x, same, member, k) + inter * _nearest(x, member, present, margin)


def _squares(x: Array) -> Array:
  """Returns |x_i - x_j|^2 `[B, B]`, only to choose pairs by: distances are taken afresh."""
  x = jax.lax.stop_gradient(x)
  length = jnp.square(x).sum(1)
  inner = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(length[:, None] + length[None, :] - 2.0 * inner, 0.0)


def _distance(x: Array, y: Array) -> Array:
  return jnp.sqrt(jnp.square(x - y).sum(-1) + EPS)


def _take(x: Array, index: Array) -> Array:
  """Returns x[index] as a product, whose gradient no accelerator adds up in a random order."""
  chosen = jax.nn.one_hot(index, len(x), dtype=x.dtype)
  return jnp.matmul(chosen, x, precision=jax.lax.Precision.HIGHEST)


def _ranges(x: Array, same: Array, member: Array, k: int) -> Array:
  """Returns the sum over the classes of the harmonic mean of the k largest distances."""
  n = len(x)
  pairs = jnp.where(jnp.triu(same, 1), _squares(x), -1.0)
  # the k widest of a class are among the k widest of each of its samples
  wide, right = jax.lax.top_k(pairs, min(k, n))  # [B, k]
  kept = wide.shape[1]
  flat = jnp.where(jnp.repeat(member, kept, axis=1), wide.reshape(1, -1), -1.0)
  widest, at = jax.lax.top_k(flat, min(k, n * kept))  # [place, k]
  is_pair = widest >= 0
  d = _distance(_take(x, at // kept), _take(x, right.reshape(-1)[at]))
  inverse = jnp.where(is_pair, 1.0 / (d + EPS), 0.0).sum(1)
  return jnp.where(inverse > 0, is_pair.sum(1) / jnp.where(inverse > 0, inverse, 1.0), 0.0).sum()


def _nearest(x: Array, member: Array, present: Array, margin: float) -> Array:
  """Returns by how much the two nearest class means are closer than the margin."""
  share = jnp.asarray(member, float)
  means = jnp.matmul(share, x, precision=jax.lax.Precision.HIGHEST)
  means = means / jnp.maximum(share.sum(1), 1.0)[:, None]
  apart = jnp.triu(present[:, None] & present[None, :], 1)
  nearest = jnp.argmin(jnp.where(apart, _squares(means), jnp.inf))
  p, q = nearest // len(x), nearest % len(x)
  return jnp.where(apart.any(), jnp.maximum(margin - _distance(means[p], means[q]), 0.0), 0.0)
