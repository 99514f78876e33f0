"""Class weights from class counts, with a mean of 1 over the classes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from fass_jax.counts import effective_number
from fass_jax.types import Array


def _mean_one(raw: Array, counts: Array) -> Array:
  raw = jnp.where(counts > 0, raw, 0.0)
  return raw * (counts.shape[0] / raw.sum())


def effective_number_weights(counts: Array, beta: float) -> Array:
  """Returns w_c ~ 1 / E(n_c), with E the effective number, rescaled so that sum_c w_c = C.

  beta = 0 gives ones; beta -> 1 gives inverse frequencies. Deferred reweighting (DRW) uses
  beta = 0.9999.

  Args:
    counts: `[C]`, training images per class; an empty class has weight 0.
    beta: in [0, 1), a Python float, because 1 - beta needs double precision (in float32, 1 - 0.9999
      is off by 2 in 10,000); it cannot be traced.

  Returns:
    float32 `[C]`.

  Raises:
    ValueError: if beta is outside [0, 1).

  Reference: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, arXiv:1901.05555;
  DRW: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
  arXiv:1906.07413.
  """
  if not 0 <= beta < 1:
    raise ValueError(f'beta={beta} is not in [0, 1)')
  n = jnp.asarray(counts, float)
  return _mean_one(1.0 / effective_number(jnp.maximum(n, 1.0), beta), n)


def inverse_frequency_weights(counts: Array, power: float) -> Array:
  """Returns w_c ~ n_c^-power, rescaled so that sum_c w_c = C.

  Args:
    counts: `[C]`, training images per class; an empty class has weight 0.
    power: 0 gives ones, 0.5 inverse square roots, 1 inverse frequencies.

  Returns:
    float32 `[C]`.
  """
  n = jnp.asarray(counts, float)
  # counts relative to the largest class, so that no power overflows
  return _mean_one((jnp.maximum(n, 1.0) / n.max()) ** -power, n)


# name -> (beta, power) -> (counts [C] -> weights [C])
CLASS_WEIGHTS: dict[str, Callable[[float, float], Callable[[Any], Array]]] = {
  'effective_number': lambda beta, power: functools.partial(effective_number_weights, beta=beta),
  'inverse': lambda beta, power: functools.partial(inverse_frequency_weights, power=power),
}
# descriptions for the recipe's printout, formatted with beta and power
WEIGHT_TEXTS = {'effective_number': 'beta {beta:g}', 'inverse': 'power {power}'}
