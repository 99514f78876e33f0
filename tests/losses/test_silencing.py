"""The neighbour-silencing loss: its two ends, constants by hand, NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import balanced_softmax
from fass_jax.losses.silencing import ns_loss

K = 6
COUNTS = np.array([500, 60, 9, 40, 30, 20])
NEAR = np.zeros((K, K), bool)
NEAR[1, [3, 4]] = NEAR[2, 5] = True
NEAR |= NEAR.T
loss = jax.jit(ns_loss, static_argnums=4)


def given(seed=0, rows=24):
  rng = np.random.default_rng(seed)
  return 2 * rng.normal(size=(rows, K)), rng.integers(0, K, rows)


def by_hand(z, y, silence):
  out = []
  for f, c in zip(z, y, strict=True):
    s = np.where(NEAR[c], silence, 1.0)
    s[c] = 1.0
    e = COUNTS * np.exp(f)
    out.append(-np.log(e[c] / (s * e).sum()))
  return np.array(out)


@pytest.mark.parametrize('silence', [0.0, 0.1, 1.0])
def test_against_the_formula(silence):
  z, y = given()
  np.testing.assert_allclose(loss(z, y, COUNTS, NEAR, silence), by_hand(z, y, silence), rtol=1e-5)


def test_one_is_the_balanced_softmax_and_zero_leaves_the_neighbours_out():
  z, y = given(1)
  full = balanced_softmax(jnp.asarray(z), jnp.asarray(y), COUNTS)
  np.testing.assert_allclose(loss(z, y, COUNTS, NEAR, 1.0), full, rtol=1e-5)
  # class 2 without its neighbour 5, as if there were five classes
  at, kept = y == 2, [0, 1, 2, 3, 4]
  five = balanced_softmax(jnp.asarray(z[at][:, kept]), jnp.asarray(y[at]), COUNTS[kept])
  np.testing.assert_allclose(loss(z[at], y[at], COUNTS, NEAR, 0.0), five, rtol=1e-5)
  assert (loss(z, y, COUNTS, NEAR, 0.1) <= full + 1e-6).all()


def test_by_hand():
  # equal logits, counts 1, class 0 with one neighbour of two others: log(1 + .1 + 1)
  near = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)  # a class is no neighbour of its own
  got = ns_loss(jnp.zeros((2, 3)), jnp.array([0, 2]), jnp.ones(3), near, 0.1)
  np.testing.assert_allclose(got, np.log([2.1, 3.0]), rtol=1e-6)


def test_gradients_at_the_edges_are_numbers():
  """At silence 0, with huge logits, with an empty class as neighbour and as label."""
  z = jnp.asarray([[1e4, -1e4, 0, 0, 1e4, 0], [0, 1e4, 0, -1e4, 0, 0], [0, 0, 0, 0, 0, 0.0]])
  y, n = jnp.array([1, 3, 4]), jnp.asarray([500, 60, 9, 40, 0, 20])
  for silence in (0.0, 0.1):
    values, grad = (
      loss(z, y, n, NEAR, silence),
      jax.grad(lambda z, s=silence: ns_loss(z, y, n, NEAR, s).sum())(z),
    )
    assert np.isfinite(values).all() and np.isfinite(grad).all() and (values >= 0).all()
  # a silenced neighbour has no gradient
  assert grad is not None and jax.grad(lambda z: ns_loss(z, y, n, NEAR, 0.0)[0])(z)[0, 3] == 0
