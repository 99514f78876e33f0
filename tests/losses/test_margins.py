"""LDAM against the published margins, by hand and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.counts import class_counts
from fass_jax.losses import margins
from fass_jax.losses.margins import ldam_margins
from fass_jax.losses.softmax import cross_entropy
from tests.losses import oracle

# one program a shape compiles faster than every operation alone
ldam = jax.jit(margins.ldam)


@pytest.mark.parametrize('factor, head', [(10, 0.2812), (50, 0.1880), (100, 0.1581)])
@pytest.mark.parametrize('n_max, c', [(500, 100), (5000, 10)])
def test_margins_of_cifar(n_max, c, factor, head):
  m = ldam_margins(class_counts(n_max, c, factor))
  np.testing.assert_allclose([m[0], m[-1]], [head, 0.5], rtol=0, atol=5.1e-5)
  assert m.dtype == jnp.float32 and m.shape == (c,)


def test_margins_by_hand():
  np.testing.assert_allclose(ldam_margins(jnp.array([16, 81, 1]), 0.6), [0.3, 0.2, 0.6], rtol=1e-6)
  np.testing.assert_allclose(ldam_margins(jnp.array([16, 0, 1])), [0.25, 0, 0.5], rtol=1e-6)


def test_margins_are_blind_to_the_scale_of_the_counts():
  n = class_counts(500, 100, 100)
  np.testing.assert_allclose(ldam_margins(n), ldam_margins(1000 * n), rtol=1e-6)


def test_ldam_by_hand():
  # counts (16, 1): margins (.25, .5); s = 2 moves the own logit by .5 and 1
  logits, n = jnp.array([[1.0, 0.5], [0.0, 1.0]]), jnp.array([16, 1])
  got = ldam(logits, jnp.array([0, 1]), n, 2.0)
  np.testing.assert_allclose(got, [np.log(2), np.log(2)], rtol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_ldam_against_numpy(dtype):
  logits, labels = oracle.random_logits(0, 60, 10, 12.0)
  logits = jnp.asarray(logits, dtype)
  n = class_counts(5000, 10, 100)
  got = ldam(logits, labels, n, 30.0, 0.5)
  z = np.asarray(logits, np.float64)
  m = n**-0.25 * 0.5 / (n**-0.25).max()
  z[np.arange(60), labels] -= 30.0 * m[labels]
  np.testing.assert_allclose(got, oracle.ce(z, labels), rtol=1e-5, atol=1e-5)
  assert got.dtype == jnp.float32


def test_ldam_on_the_cosine_as_the_field_writes_it():
  # CE(s (u - m onehot)) of the unscaled cosine u is ours of z = s u
  rng = np.random.default_rng(1)
  u, labels, n = rng.uniform(-1, 1, (8, 4)), rng.integers(0, 4, 8), np.array([50, 20, 10, 5])
  m = n**-0.25 * 0.5 / (n**-0.25).max()
  want = oracle.ce(30 * (u - m[labels][:, None] * np.eye(4)[labels]), labels)
  got = ldam(jnp.asarray(30 * u, jnp.float32), labels, n, 30.0)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_no_margin_is_cross_entropy():
  logits, labels = oracle.random_logits(2, 20, 5)
  n = class_counts(500, 5, 100)
  got = margins.ldam(jnp.asarray(logits), labels, n, 1.0, 0.0)
  np.testing.assert_array_equal(got, cross_entropy(jnp.asarray(logits), labels))


@pytest.mark.parametrize('size', [1.0, 1e4, -1e4])
def test_gradient(size):
  # own logit -size: a mistake for size > 0, right beyond doubt for size < 0
  logits = jnp.array([[-size, 0.0, 1.0]], jnp.float32)
  labels, n = jnp.array([0]), jnp.array([5, 50, 500])
  got = jax.grad(lambda z: ldam(z, labels, n, 30.0).sum())(logits)
  z = np.float64(logits) - np.array([[15.0, 0, 0]])
  np.testing.assert_allclose(got, oracle.softmax(z) - np.eye(3)[[0]], rtol=1e-5, atol=1e-6)
  assert (size < 0) or np.abs(got).max() > 0.5
