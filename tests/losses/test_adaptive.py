"""Adaptive logit adjustment by hand and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.losses.adaptive import adaptive_adjustment
from fass_jax.losses.build import LOSSES
from fass_jax.types import Classes, Context, Outputs
from tests.by_hand import examples
from tests.losses import oracle


def test_by_hand():
  # counts (3, 1): q = (1 / 2, 1). s = 2, cosines (.5, 0): d = .25 for class 0, .5 for class 1;
  # the own logit 1 falls by 2 * .25 / 2 = .25, the own logit 0 by 2 * .5 = 1
  z, n = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([3, 1])
  got = adaptive_adjustment(z, jnp.array([0, 1]), n, 2.0)
  expected = [np.log1p(np.exp(-0.75)), np.log1p(np.exp(2.0))]
  np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_against_numpy():
  z, labels = oracle.random_logits(0, 60, 4, 30.0)
  n, rows = np.array([500, 60, 9, 5]), np.arange(60)
  moved = np.asarray(z, np.float64).copy()
  hard = (1 - moved[rows, labels] / 30) / 2
  moved[rows, labels] -= 30 * hard / np.log2(1 + n[labels] / 5)
  (loss,) = LOSSES['ala'].build(scale=30.0)
  outs = Outputs(jnp.asarray(z)[:, None], jnp.zeros((60, 1)))
  values, weights = loss(
    outs, examples(jnp.asarray(labels)), Context(Classes(jnp.asarray(n), None, None), {}, None)
  )
  np.testing.assert_allclose(values, oracle.ce(moved, labels), rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(weights, np.ones(60))


def test_the_difficulty_has_no_gradient():
  # so the gradient is softmax - onehot at the moved logits, and sums to 0 over the classes
  z = jnp.array([[3.0, -2.0, 1.0]])
  g = jax.grad(lambda x: adaptive_adjustment(x, jnp.array([1]), jnp.array([9, 3, 1]), 30.0)[0])(z)
  np.testing.assert_allclose(g.sum(), 0.0, atol=1e-6)
  assert g[0, 1] < -0.99
