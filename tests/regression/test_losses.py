"""Losses of regression: by hand, against NumPy, and at errors of 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.regression import LOSSES, balanced_mse, loss
from fass_jax.regression.losses import balanced_mse_rows, focal_l1, huber

FORMULAS = {
  'l1': lambda e: abs(e),
  'mse': lambda e: e**2,
  'huber': lambda e: e**2 / 2 if abs(e) < 1 else abs(e) - 0.5,
  'focal_l1': lambda e: abs(e) * (2 / (1 + np.exp(-0.2 * abs(e))) - 1),
  'focal_mse': lambda e: e**2 * (2 / (1 + np.exp(-0.2 * abs(e))) - 1),
}


def drawn(seed, n=40):
  rng = np.random.default_rng(seed)
  return [x.astype(np.float32) for x in (rng.normal(0, 5, n), rng.normal(0, 5, n), rng.random(n))]


def test_by_hand():
  p, y = jnp.array([1.0, 3.0]), jnp.array([1.5, 0.0])
  np.testing.assert_allclose(loss('l1', p, y), (0.5 + 3) / 2)
  np.testing.assert_allclose(loss('mse', p, y), (0.25 + 9) / 2)
  np.testing.assert_allclose(loss('huber', p, y), (0.125 + 2.5) / 2)
  # the mean is over the batch, not over the weights
  np.testing.assert_allclose(loss('l1', p, y, jnp.array([2.0, 0.0])), 0.5)


@pytest.mark.parametrize('name', FORMULAS)
def test_against_numpy(name):
  p, y, w = drawn(0)
  values = np.array([FORMULAS[name](e) for e in p.astype(np.float64) - y])
  np.testing.assert_allclose(loss(name, p, y), values.mean(), rtol=1e-6)
  np.testing.assert_allclose(loss(name, p, y, w), (values * w).mean(), rtol=1e-6)
  assert set(LOSSES) == set(FORMULAS)


@pytest.mark.parametrize('name', FORMULAS)
@pytest.mark.parametrize('size', [0.0, 1e-6, 1e4])
def test_safe_at_every_error(name, size):
  e = jnp.array([size, -size], jnp.float32)
  value, grad = jax.value_and_grad(lambda p: loss(name, p, jnp.zeros(2)))(e)
  assert np.isfinite(value) and np.isfinite(grad).all()
  np.testing.assert_allclose(grad[0], -grad[1])
  assert size or not grad.any()  # an exact hit pulls nowhere


@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0])
def test_the_power_of_focal(gamma):
  e = jnp.array([0.0, 0.3, -4.0])
  size = np.abs(np.float64(e))
  factor = (2 / (1 + np.exp(-0.5 * size)) - 1) ** gamma
  np.testing.assert_allclose(focal_l1(e, 0.5, gamma), size * factor, rtol=1e-6)
  assert np.isfinite(jax.grad(lambda x: focal_l1(x, 0.5, gamma).sum())(e)).all()


def test_huber_of_another_width():
  np.testing.assert_allclose(huber(jnp.array([1.0, 4.0]), 2.0), [0.25, 3.0])


def test_a_loss_that_is_none():
  with pytest.raises(ValueError, match='l2'):
    loss('l2', jnp.zeros(1), jnp.zeros(1))


def oracle(p, y, noise):
  """Balanced MSE in loops."""
  total = 0.0
  for i in range(len(p)):
    z = [-((p[i] - y[j]) ** 2) / (2 * noise**2) for j in range(len(y))]
    total += -(z[i] - np.log(np.sum(np.exp(z))))
  return total / len(p) * 2 * noise**2


@pytest.mark.parametrize('noise', [0.5, 1.0, 8.0])
def test_balanced_mse_against_numpy(noise):
  p, y, _ = (x.astype(np.float64) for x in drawn(1))
  got = balanced_mse(p.astype(np.float32), y.astype(np.float32), noise)
  np.testing.assert_allclose(got, oracle(p, y, noise), rtol=2e-6)


def test_the_noise_learns_from_the_cross_entropy_alone():
  p, y, _ = drawn(2)
  # by the chain rule with 2 s^2 held
  grad = jax.grad(lambda s: balanced_mse(p, y, s))(2.0)
  entropy = [oracle(p.astype(float), y, s) / (2 * s**2) for s in (2 - 1e-5, 2 + 1e-5)]
  np.testing.assert_allclose(grad, 8 * (entropy[1] - entropy[0]) / 2e-5, rtol=1e-4)


def test_masked_rows_are_neither_predictions_nor_classes():
  p, y, _ = drawn(3)
  bad = np.full(3, np.nan, np.float32)
  mask = np.arange(len(p) + 3) < len(p)
  args = np.append(p, bad), np.append(y, bad), 1.5, mask
  np.testing.assert_allclose(balanced_mse(*args), balanced_mse(p, y, 1.5), rtol=1e-6)
  grad = jax.grad(lambda x: balanced_mse(x, *args[1:]))(jnp.asarray(args[0]))
  assert np.isfinite(grad).all() and not grad[-3:].any()
  assert not balanced_mse_rows(*args)[-3:].any()
  assert not balanced_mse(*args[:3], np.zeros_like(mask))


def test_a_wide_noise_is_mse_plus_a_pull_from_the_other_targets():
  """s -> inf: 2 s^2 (log B + ((p_i - y_i)^2 - mean_j (p_i - y_j)^2) / (2 s^2))."""
  p, y, _ = (x.astype(np.float64) for x in drawn(4, 10))
  s = 100.0
  want = np.mean((p - y) ** 2 - ((p[:, None] - y) ** 2).mean(1))
  assert oracle(p, y, s) - 2 * s**2 * np.log(10) == pytest.approx(want, rel=0.02)
