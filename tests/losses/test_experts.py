"""RIDE's loss against the published temperatures, by hand and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.counts import class_counts
from fass_jax.losses import experts, margins
from fass_jax.losses.experts import ride_temperature
from tests.losses import oracle

# one program a shape compiles faster than every operation alone
diversity, ride, ldam = (jax.jit(f) for f in (experts.diversity, experts.ride, margins.ldam))

N = class_counts(500, 5, 100)


def expert_logits(seed, b=6, e=3, c=5, scale=3.0):
  rng = np.random.default_rng(seed)
  return rng.normal(0, scale, (b, e, c)).astype(np.float32), rng.integers(0, c, b).astype(np.int32)


def kl_oracle(z, temperature):
  """T-bar^2 KL(softmax(mean / T) || softmax(z_e / T)) in double precision, `[B, E]`."""
  z = np.float64(z)
  p = oracle.log_softmax(z.mean(1, keepdims=True) / temperature)
  q = oracle.log_softmax(z / temperature)
  return temperature.mean() ** 2 * (np.exp(p) * (p - q)).sum(-1)


@pytest.mark.parametrize(
  'factor, tail, mean', [(10, 0.8933, 0.9279), (50, 0.8308, 0.8709), (100, 0.8067, 0.8471)]
)
def test_temperatures_of_cifar_100(factor, tail, mean):
  t = ride_temperature(class_counts(500, 100, factor), 0.05)
  np.testing.assert_allclose([t[0], t[-1], t.mean()], [1, tail, mean], rtol=0, atol=5.1e-5)
  assert t.dtype == jnp.float32 and t.shape == (100,)


def test_temperatures_by_hand():
  # C n / N = (1.5, .5); f = .5: (1.25, .75) / 1.25
  np.testing.assert_allclose(ride_temperature(jnp.array([3, 1]), 0.5), [1, 0.6], rtol=1e-6)
  np.testing.assert_array_equal(ride_temperature(jnp.array([3, 1]), 0.0), [1, 1])


def test_diversity_by_hand():
  # experts (ln 9, 0) and (0, 0): their mean (ln 3, 0) is (3/4, 1/4), they are (9/10, 1/10) and
  # (1/2, 1/2)
  z = jnp.array([[[np.log(9), 0.0], [0.0, 0.0]]], jnp.float32)
  want = [
    0.75 * np.log(0.75 / 0.9) + 0.25 * np.log(0.25 / 0.1),
    0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5),
  ]
  np.testing.assert_allclose(diversity(z, jnp.array([3, 1]), 0.5, False)[0], want, rtol=1e-5)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_diversity_against_numpy(dtype):
  z = jnp.asarray(expert_logits(0)[0], dtype)
  early, late = (diversity(z, N, 0.05, on) for on in (False, True))
  z = np.asarray(z, np.float64)
  np.testing.assert_allclose(early, kl_oracle(z, np.ones(5)), rtol=1e-4, atol=1e-5)
  raw = 5 * N / N.sum() * 0.05 + 0.95
  np.testing.assert_allclose(late, kl_oracle(z, raw / raw.max()), rtol=1e-4, atol=1e-5)
  assert early.dtype == jnp.float32 and early.shape == (6, 3)
  assert np.abs(early - late).max() > 1e-2


def test_the_switch_may_be_traced():
  z = expert_logits(1)[0]
  for on in (False, True):
    want = experts.diversity(z, N, 0.05, on)
    np.testing.assert_allclose(diversity(z, N, 0.05, on), want, rtol=1e-5, atol=1e-6)


def test_one_expert_or_equal_experts_have_no_diversity():
  z = jnp.asarray(expert_logits(2, e=1)[0])
  got, grad = jax.value_and_grad(lambda z: diversity(z, N, 0.05, True).sum())(z)
  assert got == 0
  np.testing.assert_allclose(grad, np.zeros_like(grad), rtol=0, atol=1e-6)
  same = jnp.broadcast_to(z, (6, 3, 5))
  np.testing.assert_allclose(diversity(same, N, 0.05, True), np.zeros((6, 3)), rtol=0, atol=1e-5)


def test_no_gradient_through_the_mean():
  # so dKL/dz_e = T-bar^2 (softmax(z_e / T) - softmax(mean / T)) / T. Asked of one expert: summed
  # over all of them the gradient through the mean cancels anyway, stopped or not
  z, _ = expert_logits(3)
  got = jax.grad(lambda z: diversity(z, N, 0.05, True)[:, 0].sum())(jnp.asarray(z))
  t = np.float64(ride_temperature(N, 0.05))
  q, p = oracle.softmax(z[:, 0] / t), oracle.softmax(np.float64(z).mean(1) / t)
  np.testing.assert_allclose(got[:, 0], t.mean() ** 2 * (q - p) / t, rtol=1e-4, atol=1e-5)
  assert (np.asarray(got)[:, 1:] == 0).all()


@pytest.mark.parametrize('late', [False, True])
def test_ride_is_the_sum_over_the_experts(late):
  z, labels = expert_logits(4)
  one, two = ride(jnp.asarray(z), labels, N, 30.0, 0.5, -0.45, 0.05, late)
  want = sum(ldam(jnp.asarray(z[:, e]), labels, N, 30.0, 0.5) for e in range(3))
  np.testing.assert_allclose(one, want, rtol=1e-5)
  np.testing.assert_allclose(two, -0.45 * diversity(z, N, 0.05, late).sum(1), rtol=1e-5, atol=1e-6)
  assert one.shape == two.shape == (6,) and (np.asarray(two) < 0).all()


def test_ride_of_one_expert_is_ldam():
  z, labels = expert_logits(5, e=1)
  one, two = ride(jnp.asarray(z), labels, N, 30.0, 0.5, -0.45, 0.05, True)
  np.testing.assert_allclose(one, ldam(jnp.asarray(z[:, 0]), labels, N, 30.0), rtol=1e-6)
  np.testing.assert_allclose(two, np.zeros(6), rtol=0, atol=1e-6)


def test_extreme_logits():
  z = jnp.array([[[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], [[0.0, 1e4, 0.0], [0.0, -1e4, 1.0]]])
  labels, n = jnp.array([0, 2]), jnp.array([500, 50, 5])

  def total(z):
    one, two = ride(z, labels, n, 30.0, 0.5, -0.45, 0.05, True)
    return (one + two).sum()

  value, grad = jax.value_and_grad(total)(z)
  assert np.isfinite(value) and np.isfinite(grad).all()
  # experts that are wrong: the second on the first sample, the first on the second
  assert np.abs(grad[0, 1]).max() > 0.4 and np.abs(grad[1, 0]).max() > 0.4
