"""ConCutMix's labels against the formula, sample by sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses.concutmix import concutmix, rectify_labels
from fass_jax.losses.prior import logit_adjustment, soft_logit_adjustment
from fass_jax.types import Classes, Context, Examples, Outputs, Targets

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


def mixed(seed=4):
  """Returns logits, outputs and pair targets of B mixed images."""
  rng, (_, x, m) = np.random.default_rng(seed), given(seed)
  z = jnp.asarray(3 * rng.normal(size=(B, 1, C)), jnp.float32)
  x, m = jnp.asarray(x, jnp.float32), jnp.asarray(m, jnp.float32)
  a, b = (jnp.asarray(rng.integers(0, C, B), jnp.int32) for _ in range(2))
  outs = Outputs(z, x, projection=x, extra={'centres': m})
  lam = jnp.asarray(rng.uniform(size=B), jnp.float32)
  return outs, Examples(a, Targets(a, b, lam), jnp.ones(B))


def loss_of(tau, omega, outs, pair):
  (loss,) = concutmix(tau, 3, lambda t: jnp.asarray(omega))
  counts = jnp.asarray(COUNTS)
  return loss(outs, pair, Context(Classes(counts, counts, counts), {}, None))[0]


@pytest.mark.parametrize('tau', [0.0, 0.9])
def test_without_omega_it_is_logit_adjustment_of_both_labels(tau):
  outs, pair = mixed()
  la = [
    logit_adjustment(outs.logits[:, 0], y, COUNTS, tau) for y in (pair.targets.a, pair.targets.b)
  ]
  want = pair.targets.lam * la[0] + (1 - pair.targets.lam) * la[1]
  np.testing.assert_allclose(loss_of(tau, 0.0, outs, pair), want, rtol=1e-5)


def test_with_omega_against_numpy():
  outs, pair = mixed(5)
  lam = np.asarray(pair.targets.lam)[:, None]
  t = lam * np.eye(C)[pair.targets.a] + (1 - lam) * np.eye(C)[pair.targets.b]
  x, m = (np.asarray(v, float) for v in (outs.projection, outs.extra['centres']))
  r = by_hand(t, x, m, COUNTS, 3, 0.5)
  z = np.asarray(outs.logits[:, 0], float) + 0.9 * np.log(COUNTS / COUNTS.sum())
  log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
  got = loss_of(0.9, 0.5, outs, pair)
  np.testing.assert_allclose(got, -(r * log_p).sum(1), rtol=1e-5)
  assert np.abs(got - loss_of(0.9, 0.0, outs, pair)).max() > 1e-3


def test_an_empty_class_has_no_share():
  z, t = jnp.asarray([[1.0, 2.0, 3.0]]), jnp.asarray([[0.5, 0.3, 0.2]])
  value, grad = jax.value_and_grad(lambda z: soft_logit_adjustment(z, t, [8, 2, 0], 1.0).sum())(z)
  p = np.array([8 * np.e, 2 * np.e**2])
  np.testing.assert_allclose(value, -(np.array([0.5, 0.3]) @ np.log(p / p.sum())), rtol=1e-6)
  assert np.isfinite(grad).all()
