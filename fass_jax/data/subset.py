"""Which images a long-tailed training set keeps; the rule of LDAM-DRW, image by image."""

from __future__ import annotations

import numpy as np

from fass_jax.types import UserError

PROFILES = ('exp', 'step', 'balanced')


def class_counts(
  n_max: int | float, num_classes: int, imb_factor: float, profile: str = 'exp'
) -> np.ndarray:
  """Return how many training images each class keeps.

  Thesis: Eq. (1). With i = 0 .. C-1, IF >= 1 and all truncated towards zero,

    exp:       n_i = n_max * IF ** (-i / (C - 1))
    step:      n_i = n_max for i < C // 2, else n_max / IF
    balanced:  n_i = n_max

  Args:
    n_max: images of the largest class, > 0.
    num_classes: C, > 0.
    imb_factor: IF, largest class over smallest class, in [1, inf); unused by 'balanced'.
    profile: one of `PROFILES`.

  Returns:
    int64 [C], each in 1 .. n_max.

  Raises:
    UserError: IF below 1, an unknown profile, or a class that would keep no image.

  Reference: Cao et al., NeurIPS 2019.
  """
  if profile not in PROFILES:
    raise UserError(f'The profile {profile!r} is unknown; choose one of {", ".join(PROFILES)}.')
  if not imb_factor >= 1:  # also catches NaN
    raise UserError(
      f'The imbalance factor is {imb_factor}, but it is the largest class over the smallest; '
      'give a number of 1 or more.'
    )
  c = num_classes
  if profile == 'exp' and c > 1:
    # A float64 power, not exp(-ln(IF) i / (C-1)): that one loses an image of the last class.
    counts = [int(n_max * (1.0 / imb_factor) ** (i / (c - 1.0))) for i in range(c)]
  elif profile == 'step':
    counts = [int(n_max)] * (c // 2) + [int(n_max / imb_factor)] * (c - c // 2)
  else:
    counts = [int(n_max)] * c
  if min(counts) < 1:
    raise UserError(
      f'With imbalance factor {imb_factor:g} class {counts.index(0)} would keep none of its '
      f'{int(n_max)} images; give a smaller factor.'
    )
  return np.asarray(counts, np.int64)


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
