"""Class-dependent temperatures and label smoothing: by hand and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import softmax, temperatures
from tests.losses import oracle

cdt = jax.jit(temperatures.cdt, static_argnames='gamma')
label_smoothing = jax.jit(softmax.label_smoothing, static_argnames='smoothing')


def test_temperatures_by_hand():
  n = jnp.array([16, 1, 4, 0])
  np.testing.assert_allclose(temperatures.class_temperatures(n, 0.5), [1, 4, 2, 4], rtol=1e-6)
  np.testing.assert_array_equal(temperatures.class_temperatures(n, 0.0), np.ones(4))


def test_cdt_by_hand():
  # counts (4, 1), gamma 1/2: a = (1, 2); z = (0, 2 ln 3) becomes (0, ln 3)
  z = jnp.array([[0.0, 2 * np.log(3)]] * 2)
  got = cdt(z, jnp.array([0, 1]), jnp.array([4, 1]), 0.5)
  np.testing.assert_allclose(got, np.log([4, 4 / 3]), rtol=1e-6)


@pytest.mark.parametrize('gamma', [0.0, 0.2, 0.4])
def test_cdt_against_numpy(gamma):
  z, y = oracle.random_logits(0, 50, 4)
  n = np.array([500, 60, 9, 5])
  got = cdt(z, y, n, gamma)
  np.testing.assert_allclose(got, oracle.ce(z / (500 / n) ** gamma, y), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(cdt(z, y, 100 * n, gamma), got, rtol=1e-5, atol=1e-6)


def test_smoothing_by_hand():
  # p = (1/4, 3/4), e = .2: q = (.9, .1)
  z = jnp.log(jnp.array([[1.0, 3.0]]))
  got = label_smoothing(z, jnp.array([0]), 0.2)
  np.testing.assert_allclose(got, [0.9 * np.log(4) + 0.1 * np.log(4 / 3)], rtol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_smoothing_against_numpy(dtype):
  z, y = oracle.random_logits(1, 50, 10)
  z = jnp.asarray(z, dtype)
  q = 0.9 * np.eye(10)[y] + 0.01
  got = label_smoothing(z, y, 0.1)
  want = -(q * oracle.log_softmax(np.asarray(z, np.float64))).sum(-1)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(label_smoothing(z, y, 0.0), softmax.cross_entropy(z, y), rtol=1e-6)
