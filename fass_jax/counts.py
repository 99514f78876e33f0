"""Functions of the class counts: long-tailed profiles and the effective number of samples."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array, UserError


def effective_number(count: Array, beta: float) -> Array:
  """Returns the effective number of samples E(n) = (1 - beta^n) / (1 - beta).

  expm1 and log1p keep the result accurate in float32 for beta close to 1: with
  beta = (N - 1) / N and N = 10,847, E(10) = 9.9959 and E(1000) = 955.33.

  Args:
    count: `[C]`, images per class, >= 0.
    beta: in [0, 1), a Python float, so that 1 - beta is computed in double precision.

  Returns:
    float `[C]`.

  Thesis: Eq. (2). Reference: Cui et al., Class-Balanced Loss Based on Effective Number of Samples,
  arXiv:1901.05555.
  """
  gap = 1.0 - beta
  return -jnp.expm1(jnp.asarray(count) * jnp.log1p(-gap)) / gap


PROFILES = ('exp', 'step', 'balanced')


def class_counts(
  n_max: int | float, num_classes: int, imb_factor: float, profile: str = 'exp'
) -> np.ndarray:
  """Returns the number of training images per class of a long-tailed subset.

  Thesis: Eq. (1). With i = 0 .. C-1, IF >= 1 and all n_i truncated towards zero,

    exp:       n_i = n_max * IF ** (-i / (C - 1))
    step:      n_i = n_max for i < C // 2, else n_max / IF
    balanced:  n_i = n_max

  Args:
    n_max: images of the largest class, > 0.
    num_classes: C, > 0.
    imb_factor: IF, the ratio of the largest to the smallest class, in [1, inf); unused by
      'balanced'.
    profile: one of `PROFILES`.

  Returns:
    int64 `[C]`, in 1 .. n_max.

  Raises:
    UserError: if IF is below 1, the profile is unknown, or a class would have no image.

  Reference: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
  arXiv:1906.07413.
  """
  if profile not in PROFILES:
    raise UserError(f'The profile {profile!r} is unknown; choose one of {", ".join(PROFILES)}.')
  if not imb_factor >= 1:  # also catches NaN
    raise UserError(
      f'The imbalance factor is {imb_factor}, but it is the ratio of the largest class to the '
      'smallest; give a number of 1 or more.'
    )
  c = num_classes
  if profile == 'exp' and c > 1:
    # a float64 power: exp(-ln(IF) i / (C-1)) rounds the last class down by one image
    counts = [int(n_max * (1.0 / imb_factor) ** (i / (c - 1.0))) for i in range(c)]
  elif profile == 'step':
    counts = [int(n_max)] * (c // 2) + [int(n_max / imb_factor)] * (c - c // 2)
  else:
    counts = [int(n_max)] * c
  if min(counts) < 1:
    raise UserError(
      f'With imbalance factor {imb_factor:g} class {counts.index(0)} would have none of its '
      f'{int(n_max)} images; give a smaller factor.'
    )
  return np.asarray(counts, np.int64)
