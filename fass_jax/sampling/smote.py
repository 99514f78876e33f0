"""SMOTE and Borderline-SMOTE: new rows of rare classes between rows that exist."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def nearest(rows: Array, among: Array, k: int, own: Array) -> Array:
  """Returns the k nearest rows of `among`, by Euclidean distance, without the row itself.

  Args:
    rows: float `[n, D]`.
    among: float `[N, D]`.
    k: 1 .. N - 1.
    own: int `[n]`, the position of each row in `among`; a copy of a row is a neighbour.

  Returns:
    int32 `[n, k]`, the nearest first.
  """

  def of_row(row: Array, at: Array) -> Array:
    # differences, not the expanded square: close rows far from 0 would all have distance 0
    distance = jnp.square(among - row[None, :]).sum(-1).at[at].set(jnp.inf)
    return jax.lax.top_k(-distance, k)[1]

  return jax.lax.map(lambda pair: of_row(*pair), (rows, own), batch_size=64)


@functools.partial(jax.jit, static_argnums=(2, 3))
def smote(key: Array, x: Array, count: int, k: int) -> Array:
  """Returns rows x_i + delta (x_j - x_i) between a row and one of its k nearest.

  Row i, its neighbour j and delta in [0, 1) are drawn uniformly.

  Args:
    key: a PRNG key.
    x: float `[n, D]`, the rows of one class.
    count: number of new rows.
    k: 1 .. n - 1.

  Returns:
    float32 `[count, D]`.

  Raises:
    ValueError: if the class has no more than k rows.

  Reference: Chawla et al., SMOTE: Synthetic Minority Over-sampling Technique, JAIR 2002,
  arXiv:1106.1813.
  """
  if not 1 <= k < len(x):
    raise ValueError(f'k={k} neighbours need more than {k} rows and at least 1, not {len(x)} rows')
  x = jnp.asarray(x, float)
  at_base, at_neighbour, at_delta = jax.random.split(key, 3)
  base = jax.random.randint(at_base, (count,), 0, len(x))
  choice = jax.random.randint(at_neighbour, (count,), 0, k)
  delta = jax.random.uniform(at_delta, (count, 1))
  other = nearest(x, x, k, jnp.arange(len(x)))[base, choice]
  return x[base] + delta * (x[other] - x[base])


@functools.partial(jax.jit, static_argnums=3)
def danger(x: Array, labels: Array, c: int, m: int) -> Array:
  """Returns which rows of class c are in danger: m / 2 <= m' < m.

  m' is how many of a row's m nearest rows, of all classes, are of another class. With m' = m the
  row is noise, below m / 2 it is safe.

  Args:
    x: float `[N, D]`.
    labels: integer `[N]`.
    c: the class.
    m: 1 .. N - 1.

  Returns:
    bool `[N]`.

  Reference: Han et al., Borderline-SMOTE: A New Over-Sampling Method in Imbalanced Data Sets
  Learning, ICIC 2005.
  """
  x, labels = jnp.asarray(x, float), jnp.asarray(labels)
  others = (labels[nearest(x, x, m, jnp.arange(len(x)))] != c).sum(axis=1)
  return (labels == c) & (2 * others >= m) & (others < m)
