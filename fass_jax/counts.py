"""What follows from the class counts alone."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array, UserError


def effective_number(count: Array, beta: float) -> Array:
  """Returns the effective number of samples E(n) = (1 - beta^n) / (1 - beta).

  Computed by expm1 and log1p, so that float32 holds for beta close to 1: with
  beta = (N - 1) / N and N = 10,847, E(10) = 9.9959 and E(1000) = 955.33.

  Args:
    count: `[C]`, images per class, >= 0.
    beta: in [0, 1), a Python float: 1 - beta is taken in double precision.

  Returns:
    float `[C]`.

  Thesis: Eq. (2). Reference: Cui, Jia, Lin, Song, Belongie, CVPR 2019.
  """
  gap = 1.0 - beta
  return -jnp.expm1(jnp.asarray(count) * jnp.log1p(-gap)) / gap


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
