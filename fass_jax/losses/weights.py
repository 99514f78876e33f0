"""Class weights: functions of the class counts, rescaled to a mean of 1 over the classes."""

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
  """Returns w_c ~ 1 / E(n_c), E the effective number, rescaled so that sum_c w_c = C.

  0 gives ones, and beta -> 1 the inverse frequency. The weights of deferred reweighting (DRW)
  have beta = 0.9999.

  Args:
    counts: `[C]`, training images of each class; a class of 0 has weight 0.
    beta: in [0, 1), a Python float: float32 would put 1 - 0.9999 wrong by 2 in 10,000, so it
      is taken in double precision and cannot be traced.

  Returns:
    float32 `[C]`.

  Raises:
    ValueError: for a beta outside [0, 1).

  Reference: Cui, Jia, Lin, Song, Belongie, CVPR 2019; Cao et al., NeurIPS 2019 (deferred).
  """
  if not 0 <= beta < 1:
    raise ValueError(f'beta={beta} is not in [0, 1)')
  n = jnp.asarray(counts, float)
  return _mean_one(1.0 / effective_number(jnp.maximum(n, 1.0), beta), n)


def inverse_frequency_weights(counts: Array, power: float) -> Array:
  """Returns w_c ~ n_c^-power, rescaled so that sum_c w_c = C.

  Args:
    counts: `[C]`, training images of each class; a class of 0 has weight 0.
    power: 0 gives ones, 0.5 the square-root rule, 1 the inverse frequency.

  Returns:
    float32 `[C]`.
  """
  n = jnp.asarray(counts, float)
  # relative to the largest class, so that no power of a count overflows
  return _mean_one((jnp.maximum(n, 1.0) / n.max()) ** -power, n)


# by name: (beta, power) -> the function from counts [C] to weights [C]
CLASS_WEIGHTS: dict[str, Callable[[float, float], Callable[[Any], Array]]] = {
  'effective_number': lambda beta, power: functools.partial(effective_number_weights, beta=beta),
  'inverse': lambda beta, power: functools.partial(inverse_frequency_weights, power=power),
}
# what a reader is told of them, a format of the same names
WEIGHT_TEXTS = {'effective_number': 'beta {beta:g}', 'inverse': 'power {power}'}
