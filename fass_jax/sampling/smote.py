"""SMOTE and Borderline-SMOTE: new rows of rare classes between rows that exist.

Rows are float `[N, ...]`: rows of a table `[N, D]`, or features, with experts `[N, E, D]`.
Distances are Euclidean over all numbers of a row. Pixels are no such rows: what lies between two
photos is not a photo.
"""

from __future__ import annotations

import functools
import logging
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fass_jax.types import Array, UserError

log = logging.getLogger('fass_jax')


class Segments(NamedTuple):
  """New rows x_i + delta (x_j - x_i), as the positions of the rows that they lie between."""

  base: Array  # int32 [M], i
  other: Array  # int32 [M], j
  delta: Array  # float32 [M], in [0, 1)
  mask: Array  # bool [M]; False: the class has no base, and the row is a copy of its first row


def nearest(rows: Array, among: Array, k: int, own: Array, classes: Array | None = None) -> Array:
  """Returns the k nearest rows of `among`, by Euclidean distance, without the row itself.

  Args:
    rows: float `[n, D]`.
    among: float `[N, D]`.
    k: 1 .. N - 1.
    own: int `[n]`, the position of each row in `among`; a copy of a row is a neighbour.
    classes: int `[N]`, the classes of `among`: only rows of a row's own class are its neighbours,
      and places beyond their number hold any positions; None: all rows are.

  Returns:
    int32 `[n, k]`, the nearest first.
  """

  classes = None if classes is None else jnp.asarray(classes)

  def of_row(row: Array, at: Array) -> Array:
    # differences, not the expanded square: close rows far from 0 would all have distance 0
    distance = jnp.square(among - row[None, :]).sum(-1).at[at].set(jnp.inf)
    if classes is not None:
      distance = jnp.where(classes == classes[at], distance, jnp.inf)
    return jax.lax.top_k(-distance, k)[1]

  return jax.lax.map(lambda pair: of_row(*pair), (rows, own), batch_size=64)


def between(x: Array, segments: Segments) -> Array:
  """Returns the rows x_i + delta (x_j - x_i): float32 `[M, ...]` of `x [N, ...]`."""
  first = jnp.asarray(x, float)[segments.base]
  delta = segments.delta.reshape(-1, *(1,) * (first.ndim - 1))
  return first + delta * (jnp.asarray(x, float)[segments.other] - first)


def smote(key: Array, x: Array, count: int, k: int) -> Array:
  """Returns rows x_i + delta (x_j - x_i) between a row and one of its k nearest.

  Row i, its neighbour j and delta in [0, 1) are drawn uniformly. A class of n rows has n - 1
  neighbours: k = min(k, n - 1), which is logged. The number of rows is part of the shape, so this
  holds inside `jax.jit` too, where the line is logged once, when the function is traced.

  Args:
    key: a PRNG key.
    x: float `[n, ...]`, the rows of one class.
    count: number of new rows.
    k: at least 1.

  Returns:
    float32 `[count, ...]`.

  Raises:
    UserError: for a class of one row, or k below 1.

  Reference: Chawla et al., SMOTE: Synthetic Minority Over-sampling Technique, JAIR 2002,
  arXiv:1106.1813.
  """
  n = len(x)
  check_neighbours(k)
  if n < 2:
    raise UserError(
      f'SMOTE makes rows between two rows of a class, but the class has {n}; add rows to it, or '
      'leave the class out.'
    )
  if k > n - 1:
    log.info('SMOTE: %d neighbours instead of %d for a class of %d rows.', n - 1, k, n)
  labels = jnp.zeros((n,), jnp.int32)
  return between(x, smote_segments(key, x, labels, jnp.zeros((count,), jnp.int32), 1, k))


def check_neighbours(k: int, m: int = 1, rows: int = 2) -> None:
  """Refuses numbers of neighbours that no set has.

  Args:
    k: neighbours that a new row may lie towards.
    m: nearest rows that decide about danger.
    rows: N, rows of all classes.

  Raises:
    UserError: for k below 1, or m outside 1 .. N - 1.
  """
  if k < 1:
    raise UserError(f'SMOTE needs at least one neighbour, not k={k}; the usual number is 5.')
  if not 1 <= m < rows:
    raise UserError(
      f'Borderline-SMOTE looks at m={m} nearest rows, but m is in 1 .. {rows - 1} for {rows} rows; '
      'the usual number is 10.'
    )


@functools.partial(jax.jit, static_argnums=3)
def danger(x: Array, labels: Array, c: int, m: int) -> Array:
  """Returns which rows of class c are in danger: m / 2 <= m' < m.

  m' is how many of a row's m nearest rows, of all classes, are of another class. With m' = m the
  row is noise, below m / 2 it is safe.

  Args:
    x: float `[N, ...]`.
    labels: integer `[N]`.
    c: the class.
    m: 1 .. N - 1.

  Returns:
    bool `[N]`.

  Raises:
    UserError: if m is out of bounds.

  Reference: Han et al., Borderline-SMOTE: A New Over-Sampling Method in Imbalanced Data Sets
  Learning, ICIC 2005.
  """
  return (jnp.asarray(labels) == c) & in_danger(x, labels, m)


def in_danger(x: Array, labels: Array, m: int) -> Array:
  """Returns which rows are in danger, each as a row of its own class, see `danger`: bool `[N]`."""
  check_neighbours(1, m, len(x))
  x, labels = _flat(x), jnp.asarray(labels)
  others = (labels[nearest(x, x, m, jnp.arange(len(x)))] != labels[:, None]).sum(axis=1)
  return (2 * others >= m) & (others < m)


@functools.partial(jax.jit, static_argnums=(4, 5))
def smote_segments(
  key: Array, x: Array, labels: Array, wanted: Array, num_classes: int, k: int
) -> Segments:
  """Draws new rows of several classes by SMOTE, each class by itself, see `smote`.

  Args:
    key: a PRNG key.
    x: float `[N, ...]`.
    labels: integer `[N]`.
    wanted: integer `[M]`, the class of each new row; these classes have two rows or more.
    num_classes: C.
    k: at least 1; a class of n rows has min(k, n - 1) neighbours.
  """
  bases = jnp.ones((len(x),), bool)
  return _towards_own_class(key, x, labels, wanted, num_classes, k, bases)


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def borderline_1_segments(
  key: Array, x: Array, labels: Array, wanted: Array, num_classes: int, k: int, m: int
) -> Segments:
  """Draws new rows by Borderline-SMOTE 1: as SMOTE, but i is a row in danger.

  Args:
    key: a PRNG key.
    x: float `[N, ...]`.
    labels: integer `[N]`.
    wanted: integer `[M]`, the class of each new row; these classes have two rows or more.
    num_classes: C.
    k: at least 1; a class of n rows has min(k, n - 1) neighbours.
    m: 1 .. N - 1, see `danger`.

  Reference: Han et al., Borderline-SMOTE: A New Over-Sampling Method in Imbalanced Data Sets
  Learning, ICIC 2005.
  """
  return _towards_own_class(key, x, labels, wanted, num_classes, k, in_danger(x, labels, m))


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def borderline_2_segments(
  key: Array, x: Array, labels: Array, wanted: Array, num_classes: int, k: int, m: int
) -> Segments:
  """Draws new rows by Borderline-SMOTE 2: j is one of the k nearest rows of all classes.

  i is a row in danger. delta is in [0, 1) towards a row of the own class, and in [0, .5) towards
  one of another class, so that the new row is nearer to its own class.

  Args:
    key: a PRNG key.
    x: float `[N, ...]`.
    labels: integer `[N]`.
    wanted: integer `[M]`, the class of each new row.
    num_classes: C.
    k: at least 1; at most N - 1 neighbours are used.
    m: 1 .. N - 1, see `danger`.

  Reference: Han et al., Borderline-SMOTE: A New Over-Sampling Method in Imbalanced Data Sets
  Learning, ICIC 2005.
  """
  flat, labels = _flat(x), jnp.asarray(labels)
  at_base, at_other, at_delta = jax.random.split(key, 3)
  base, mask = _draw_base(at_base, labels, wanted, num_classes, in_danger(x, labels, m))
  k = min(k, len(flat) - 1)
  near = nearest(flat, flat, k, jnp.arange(len(flat)))
  other = near[base, jax.random.randint(at_other, base.shape, 0, k)]
  longest = jnp.where(labels[other] == wanted, 1.0, 0.5)
  return Segments(base, other, _draw_delta(at_delta, mask) * longest, mask)


def _flat(x: Array) -> Array:
  return jnp.asarray(x, float).reshape(len(x), -1)


def _draw_base(
  key: Array, labels: Array, wanted: Array, num_classes: int, bases: Array
) -> tuple[Array, Array]:
  """Draws a row of each wanted class, uniform over the rows of `bases` bool `[N]`.

  Returns:
    int32 `[M]` positions, and bool `[M]`, False for a class without such a row: there the position
    is that of the first row of the class.
  """
  kind = jnp.where(bases, labels, num_classes)
  order = jnp.argsort(kind, stable=True)  # by class, those that are no bases last
  count = jnp.bincount(kind, length=num_classes + 1)[:-1]
  rank = jax.random.randint(key, wanted.shape, 0, jnp.maximum(count[wanted], 1))
  chosen = order[(jnp.cumsum(count) - count)[wanted] + rank]
  last = len(labels) - 1
  first = jnp.full((num_classes,), last, jnp.int32).at[labels].min(jnp.arange(last + 1))
  mask = count[wanted] > 0
  return jnp.where(mask, chosen, first[wanted]).astype(jnp.int32), mask


def _draw_delta(key: Array, mask: Array) -> Array:
  return jnp.where(mask, jax.random.uniform(key, mask.shape), 0.0)


def _towards_own_class(
  key: Array, x: Array, labels: Array, wanted: Array, num_classes: int, k: int, bases: Array
) -> Segments:
  """Draws segments between a row of `bases` bool `[N]` and one of its k nearest of its class."""
  flat, labels = _flat(x), jnp.asarray(labels)
  at_base, at_other, at_delta = jax.random.split(key, 3)
  base, mask = _draw_base(at_base, labels, wanted, num_classes, bases)
  k = min(k, len(flat) - 1)
  near = nearest(flat, flat, k, jnp.arange(len(flat)), labels)
  count = jnp.bincount(labels, length=num_classes)[wanted]
  choice = jax.random.randint(at_other, base.shape, 0, jnp.clip(count - 1, 1, k))
  return Segments(base, near[base, choice], _draw_delta(at_delta, mask), mask)
