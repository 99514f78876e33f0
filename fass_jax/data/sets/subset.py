"""Selects the images of a long-tailed training set exactly as LDAM-DRW's code does."""

from __future__ import annotations

import numpy as np

from fass_jax.types import UserError


def long_tail_indices(labels: np.ndarray, counts: np.ndarray, seed: int = 0) -> np.ndarray:
  """Returns the positions of the images in a long-tailed training set.

  One MT19937 stream is seeded with `seed`. For class 0, 1, ..., it shuffles the positions of the
  class in file order, and the first n_c are selected. The shuffle does not depend on n_c, so a set
  with a larger imbalance factor is a subset of a set with a smaller one.

  Args:
    labels: integers `[N]` in 0 .. C-1, in file order.
    counts: integers `[C]`, images to select per class.
    seed: 0 .. 2**32 - 1; the published sets use 0.

  Returns:
    int32 `[sum(counts)]`, grouped by class, in shuffled order within a class.

  Raises:
    UserError: if a class has fewer images than requested.

  Reference: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
  arXiv:1906.07413.
  """
  labels = np.asarray(labels)
  rng = np.random.RandomState(seed)  # a separate stream: numpy's global one is the caller's
  kept = []
  for c, want in enumerate(np.asarray(counts).tolist()):
    places = np.flatnonzero(labels == c)
    if len(places) < want:
      raise UserError(
        f'Class {c} has {len(places)} images but {want} are requested; '
        'request fewer or give the complete data set.'
      )
    rng.shuffle(places)
    kept.append(places[:want])
  return np.concatenate(kept).astype(np.int32) if kept else np.zeros(0, np.int32)
