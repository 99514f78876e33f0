"""Focal loss: by hand, against NumPy, and where the textbook form breaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import losses
from fass_jax.losses import softmax
from tests.losses import oracle

# one program a shape compiles faster than every operation alone
focal = jax.jit(losses.focal, static_argnames='gamma')
cross_entropy = jax.jit(softmax.cross_entropy)


def test_by_hand():
  # p = (1/4, 3/4); gamma = 2: (3/4)^2 ln 4 and (1/4)^2 ln 4/3
  logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0]]))
  got = focal(logits, jnp.array([0, 1]), 2.0)
  np.testing.assert_allclose(got, [0.5625 * np.log(4), 0.0625 * np.log(4 / 3)], rtol=1e-5)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('gamma', [0.5, 1.0, 2.0, 5.0])
def test_against_numpy(gamma, dtype):
  logits, labels = oracle.random_logits(0, 50, 10)
  logits = jnp.asarray(logits, dtype)
  p = oracle.softmax(np.asarray(logits, np.float64))
  wrong = (p * (1 - np.eye(10)[labels])).sum(-1)
  got = focal(logits, labels, gamma)
  np.testing.assert_allclose(
    got, wrong**gamma * -np.log(p[np.arange(50), labels]), rtol=2e-5, atol=1e-7
  )
  assert got.dtype == jnp.float32


def test_gamma_of_zero_is_cross_entropy():
  logits, labels = oracle.random_logits(1, 20, 5)
  np.testing.assert_allclose(focal(logits, labels, 0), cross_entropy(logits, labels), rtol=1e-6)
  np.testing.assert_allclose(focal(logits, labels, 1e-6), cross_entropy(logits, labels), rtol=1e-4)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize('size', [1e4, 100.0, 20.0])
def test_extreme_logits(gamma, size):
  # wrong beyond doubt, then right beyond doubt
  logits = jnp.array([[-size, size, 0.0], [size, -size, 0.0]], jnp.float32)
  labels = jnp.array([0, 0])
  values = focal(logits, labels, gamma)
  grad = jax.grad(lambda z: focal(z, labels, gamma).sum())(logits)
  np.testing.assert_allclose(values[0], 2 * size, rtol=1e-5)
  assert values[1] >= 0 and values[1] < 1e-8
  assert np.isfinite(grad).all()
  # d/dz of a hopeless mistake is cross entropy's
  np.testing.assert_allclose(grad[0], [-1, 1, 0], rtol=0, atol=1e-6)


def test_gradient_against_differences():
  logits, labels = oracle.random_logits(2, 5, 4, 1.0)

  def value(z):
    p = oracle.softmax(z)[np.arange(5), labels]
    return ((1 - p) ** 1.5 * -np.log(p)).sum()

  z, step = np.float64(logits), 1e-6
  want = np.zeros_like(z)
  for i in np.ndindex(*z.shape):
    d = np.zeros_like(z)
    d[i] = step
    want[i] = (value(z + d) - value(z - d)) / (2 * step)
  got = jax.grad(lambda x: focal(x, labels, 1.5).sum())(jnp.asarray(logits))
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
