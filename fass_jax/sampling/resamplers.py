"""Adds rows to the smaller classes of a set until all classes are as large as the largest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.sampling.smote import (
  Segments,
  between,
  borderline_1_segments,
  borderline_2_segments,
  check_neighbours,
  smote_segments,
)
from fass_jax.types import Array, UserError

log = logging.getLogger('fass_jax')


class ResamplerKind(NamedTuple):
  """A way to make new rows, as listed in `RESAMPLERS`."""

  # (key, x [N, ...], labels [N], wanted [M], C, *values of `reads`) -> Segments
  segments: Callable[..., Segments]
  reads: tuple[str, ...]  # the parameters that it reads: k, m
  fills: bool  # True: every class gets its rows; False: a class may stay as it is
  own_class: bool  # True: both ends of a segment are rows of the class


RESAMPLERS: dict[str, ResamplerKind] = {
  'smote': ResamplerKind(smote_segments, ('k',), fills=True, own_class=True),
  'borderline_smote_1': ResamplerKind(
    borderline_1_segments, ('k', 'm'), fills=False, own_class=True
  ),
  'borderline_smote_2': ResamplerKind(
    borderline_2_segments, ('k', 'm'), fills=False, own_class=False
  ),
}


class Resampled(NamedTuple):
  """Rows with as many places per class as the largest class has."""

  rows: Array  # float32 [N + M, ...], the given rows first
  labels: np.ndarray  # int32 [N + M]
  there: Array  # bool [N + M]; False: a place of a class that stays as it is


def missing(counts: np.ndarray) -> np.ndarray:
  """Returns the class of each row that is missing: int32 `[M]`, M = sum of n_max - n_c.

  Args:
    counts: int `[C]`; a class of 0 rows stays empty.
  """
  counts = np.asarray(counts)
  need = np.where(counts > 0, counts.max() - counts, 0)
  return np.repeat(np.arange(len(counts)), need).astype(np.int32)


def check(
  kind: str, counts: Sequence[int] | np.ndarray, k: int, m: int, names: Sequence[str] = ()
) -> None:
  """Refuses classes that cannot be filled, and numbers of neighbours out of bounds.

  Args:
    kind: a key of `RESAMPLERS`.
    counts: int `[C]`.
    k: neighbours that a new row may lie towards.
    m: nearest rows that decide about danger; not every kind reads it.
    names: C names for messages; () are the numbers.

  Raises:
    UserError: with the reason.
  """
  n = np.asarray(counts)
  check_neighbours(k, m if 'm' in RESAMPLERS[kind].reads else 1, max(int(n.sum()), 2))
  alone = np.flatnonzero((n == 1) & (n < n.max()))
  if len(alone):
    raise UserError(
      f'{_named(alone[:1], names)} has only one training example, but {kind} makes new ones '
      f'between two of a class ({len(alone)} such class{"" if len(alone) == 1 else "es"}); add '
      f'examples to it, leave it out, or train without {kind}.'
    )


def resample(
  kind: str,
  key: Array,
  x: Array,
  labels: np.ndarray,
  k: int = 5,
  m: int = 10,
  *,
  names: Sequence[str] = (),
  space: Callable[[Array], Array] = lambda x: x,
) -> Resampled:
  """Adds rows to every class up to the count of the largest, one class against the rest.

  Args:
    kind: a key of `RESAMPLERS`.
    key: a PRNG key.
    x: float `[N, ...]`.
    labels: integer `[N]`.
    k: neighbours that a new row may lie towards; a class of n rows has min(k, n - 1), which is
      logged.
    m: nearest rows that decide about danger.
    names: C names for messages.
    space: what distances are measured in, an elementwise affine function of x.

  Returns:
    The rows, their labels, and which are there. Their number is a function of the counts: places
    of a class without a row in danger are marked, which is logged.

  Raises:
    UserError: as in `check`.
  """
  labels = np.asarray(labels, np.int32)
  counts = np.bincount(labels)
  check(kind, counts, k, m, names)
  how, wanted = RESAMPLERS[kind], missing(counts)
  few = np.flatnonzero((counts > 0) & (counts < counts.max()) & (counts <= k))
  if how.own_class and len(few):
    least = counts[few].min() - 1
    log.info(
      '%s: fewer than %d neighbours, at least %d, for classes of at most %d rows: %s.',
      kind, k, least, k, _named(few, names),
    )  # fmt: skip
  values = [{'k': k, 'm': m}[name] for name in how.reads]
  x = jnp.asarray(x, float)
  segments = how.segments(key, space(x), labels, wanted, len(counts), *values)
  rows = jnp.concatenate([x, between(x, segments)])
  there = jnp.concatenate([jnp.ones((len(x),), bool), segments.mask])
  if not how.fills:
    without = np.unique(wanted[~np.asarray(segments.mask)])
    if len(without):
      log.info(
        '%s: no row is in danger, so nothing is added: %s.', kind, _named(without, names)
      )  # fmt: skip
  return Resampled(rows, np.concatenate([labels, wanted]), there)


def balance(
  kind: str, key: Array, x: Array, labels: np.ndarray, k: int = 5, m: int = 10
) -> tuple[Array, np.ndarray]:
  """Returns the rows and labels of `resample`, without places that stay empty."""
  rows, all_labels, there = resample(kind, key, x, labels, k, m)
  chosen = np.flatnonzero(jax.device_get(there))
  return rows[chosen], all_labels[chosen]


def _named(classes: np.ndarray, names: Sequence[str], most: int = 5) -> str:
  """Returns 'class 3 (cat), class 9 (truck) ...' for messages."""
  shown = [f'class {c}' + (f' ({names[c]})' if names else '') for c in classes[:most]]
  more = f' and {len(classes) - most} more' if len(classes) > most else ''
  return ', '.join(shown) + more
