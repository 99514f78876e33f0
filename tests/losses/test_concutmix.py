"""ConCutMix's labels against the formula, sample by sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses.concutmix import rectify_labels

B, C, P = 6, 5, 4
COUNTS = np.array([500, 120, 30, 9, 5])
rectify = jax.jit(rectify_labels, static_argnums=4)


def given(seed=0):
  rng = np.random.default_rng(seed)
  lam = rng.uniform(size=B)[:, None]
  t = lam * np.eye(C)[rng.integers(0, C, B)] + (1 - lam) * np.eye(C)[rng.integers(0, C, B)]
  return t, 3 * rng.normal(size=(B, P)), 3 * rng.normal(size=(C, P))


def by_hand(t, x, m, n, k, omega):
  out = np.zeros_like(t)
  for i in range(len(t)):
    d = np.array([np.sqrt(((x[i] - c) ** 2).sum()) for c in m])
    s = np.zeros(len(m))
    for c in np.argsort(d)[:k]:
      s[c] = 1 / d[c]
    w = np.log((n * t[i]).sum()) / np.log(n).sum()
    out[i] = (1 - w * omega) * t[i] + w * omega * s / s.sum()
  return out


@pytest.mark.parametrize('k, omega', [(1, 1.0), (3, 20 / 255), (5, 0.5)])
def test_against_the_formula(k, omega):
  t, x, m = given()
  got = np.asarray(rectify(t, x, m, COUNTS, k, omega))
  np.testing.assert_allclose(got, by_hand(t, x, m, COUNTS, k, omega), atol=1e-6)
  np.testing.assert_allclose(got.sum(1), np.ones(B), rtol=1e-6)
  assert np.abs(got - t).max() > 0.005 and (got >= 0).all()


def test_nothing_moves_without_omega_or_where_all_classes_have_one_image():
  t, x, m = given(1)
  np.testing.assert_array_equal(rectify(t, x, m, COUNTS, 3, 0.0), np.float32(t))
  np.testing.assert_allclose(rectify(t, x, m, np.ones(C), 3, 0.5), t, rtol=1e-6)


def test_an_image_at_a_centre_and_more_neighbours_than_classes():
  t, x, m = given(2)
  x[0] = m[3]
  got = np.asarray(rectify(t, x, m, COUNTS, 1, 1.0))
  w = np.log((COUNTS * t[0]).sum()) / np.log(COUNTS).sum()
  np.testing.assert_allclose(got[0], (1 - w) * t[0] + w * np.eye(C)[3], atol=1e-6)
  np.testing.assert_allclose(
    rectify(t, x, m, COUNTS, 30, 0.5), rectify(t, x, m, COUNTS, C, 0.5), rtol=1e-6
  )


def test_features_and_centres_have_no_gradient():
  t, x, m = given(3)
  x[0] = m[0]

  def total(t, x, m):
    return (rectify_labels(t, x, m, COUNTS, 3, 0.5) * jnp.arange(C)[None, :]).sum()

  by_t, by_x, by_m = jax.jit(jax.grad(total, (0, 1, 2)))(t, x, m)
  assert np.isfinite(by_t).all() and np.abs(by_t).max() > 0
  assert (by_x == 0).all() and (by_m == 0).all()
