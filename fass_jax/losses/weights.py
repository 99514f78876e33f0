"""Class weights from class counts, with a mean of 1 over the classes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fass_jax.counts import effective_number
from fass_jax.regression.weights import bin_weights
from fass_jax.types import Array, UserError


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


class Weights(NamedTuple):
  """Class weights that a config names in `reweight.kind`."""

  build: Callable[[Any], Callable[[Any], Any]]  # section `reweight` -> (counts [C] -> weights [C])
  text: str  # for the recipe's printout, formatted with the section
  tasks: tuple[str, ...] = ('classification',)  # what a run with them can predict
  on_host: bool = False  # True: a function of NumPy, called once when a run is built


def _density(r: Any) -> Callable[[Any], np.ndarray]:
  if r.size % 2 == 0:
    raise UserError(f'--config.reweight.size={r.size} is even; a window has a middle bin, so give '
                    f'{r.size + 1}.')  # fmt: skip
  kernel = None if r.kernel == 'none' else r.kernel
  return lambda n: bin_weights(n, kernel, r.size, r.sigma, r.mode, r.order).astype(np.float32)


CLASS_WEIGHTS: dict[str, Weights] = {
  'effective_number': Weights(
    lambda r: functools.partial(effective_number_weights, beta=r.beta), 'beta {beta:g}'
  ),
  'inverse': Weights(
    lambda r: functools.partial(inverse_frequency_weights, power=r.power), 'power {power}'
  ),
  'density': Weights(
    _density,
    '{mode}, kernel {kernel} ({size}, {sigma:g}), order {order}',
    ('regression',),
    on_host=True,
  ),
}
