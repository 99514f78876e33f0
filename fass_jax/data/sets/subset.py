"""Which images a long-tailed training set keeps; the rule of LDAM-DRW, image by image."""

from __future__ import annotations

import numpy as np

from fass_jax.types import UserError


def long_tail_indices(labels: np.ndarray, counts: np.ndarray, seed: int = 0) -> np.ndarray:
  """Return the positions of the images that a long-tailed training set keeps.

  One MT19937 stream seeded with `seed`; for class 0, 1, ...: the positions of the class in file
  order are shuffled and the first n_c kept. The whole class is shuffled whatever n_c is, so the
  set of a larger factor lies inside that of a smaller one.

  Args:
    labels: integers [N] in 0 .. C-1, in file order.
    counts: integers [C], images to keep of each class.
    seed: 0 .. 2**32 - 1; the published sets use 0.

  Returns:
    int32 [sum(counts)], grouped by class, in shuffled order inside a class.

  Raises:
    UserError: a class has fewer images than asked for.

  Reference: Cao et al., NeurIPS 2019.
  """
  labels = np.asarray(labels)
  rng = np.random.RandomState(seed)  # own stream: numpy's global one belongs to the caller
  kept = []
  for c, want in enumerate(np.asarray(counts).tolist()):
    places = np.flatnonzero(labels == c)
    if len(places) < want:
      raise UserError(
        f'Class {c} has {len(places)} images but {want} are asked for; '
        'ask for fewer or give the complete data set.'
      )
    rng.shuffle(places)
    kept.append(places[:want])
  return np.concatenate(kept).astype(np.int32) if kept else np.zeros(0, np.int32)
