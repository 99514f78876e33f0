"""Max pooling: values and gradients are those of flax, equal values and odd sides included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fass_jax.nets.pooling import max_pool


@pytest.mark.parametrize('side, dtype', [(7, jnp.float32), (8, jnp.float32), (1, jnp.bfloat16)])
def test_pooling_and_its_gradient(side, dtype):
  rng = np.random.default_rng(side)
  # few values, so that most windows hold equal ones
  x = jnp.asarray(rng.integers(-2, 3, (2, side, side + 1, 3)), dtype)
  y, pull = jax.vjp(lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))), x)
  got, ours = jax.jit(lambda x: jax.vjp(max_pool, x))(x)
  np.testing.assert_array_equal(got, y)
  dy = jnp.asarray(rng.integers(-9, 10, y.shape), dtype)  # sums of integers are exact
  np.testing.assert_array_equal(ours(dy)[0], pull(dy)[0])


def test_the_gradient_by_hand():
  x = jnp.array([[0.0, 1, 1], [0, 1, 0], [5, 0, 2]])[None, :, :, None]
  # windows around (0, 0), (0, 2), (2, 0), (2, 2): the first of the ones, twice, 5 and 2
  dx = jax.grad(lambda x: (max_pool(x)[0, :, :, 0] * jnp.array([[1.0, 2], [3, 4]])).sum())(x)
  np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 3, 0], [0, 0, 0], [3, 0, 4]])
