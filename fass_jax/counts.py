"""What follows from the class counts alone."""

from __future__ import annotations

import jax.numpy as jnp

from fass_jax.types import Array


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
