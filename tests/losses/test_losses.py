"""Losses per example, and their weighted means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import LOSSES
from fass_jax.losses.combine import weighted_mean
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Context, Outputs, Time
from tests.by_hand import examples

(cross_entropy,) = LOSSES['ce'].build()
NOW = Time(jnp.int32(0), jnp.int32(0), jnp.float32(0))
CONTEXT = Context(index_classes(np.array([0, 0, 1, 2]), 3), {}, NOW)


def outputs(logits):
  """One expert's logits `[B, C]` as a network returns them."""
  logits = jnp.asarray(logits)
  return Outputs(logits[:, None, :], jnp.zeros((len(logits), 1)))


def ce(logits, labels):
  """-log softmax in double precision."""
  z = np.asarray(logits, np.float64)
  top = z.max(-1)
  log_sum = np.log(np.exp(z - top[:, None]).sum(-1)) + top
  return log_sum - z[np.arange(len(z)), labels]


def random_logits(seed, n=6, c=3):
  rng = np.random.default_rng(seed)
  return rng.normal(0, 3, (n, c)).astype(np.float32), rng.integers(0, c, n).astype(np.int32)


# cross entropy


def test_cross_entropy_by_hand():
  # softmax(0, ln 3) = (1/4, 3/4); softmax(0, 0) = (1/2, 1/2)
  logits = jnp.array([[0.0, np.log(3)], [0.0, np.log(3)], [5.0, 5.0]], jnp.float32)
  values, weights = cross_entropy(outputs(logits), examples(jnp.array([0, 1, 0])), CONTEXT)
  np.testing.assert_allclose(values, [1.386294, 0.287682, 0.693147], rtol=0, atol=1e-6)
  np.testing.assert_array_equal(weights, [1, 1, 1])
  assert values.dtype == weights.dtype == jnp.float32


def test_cross_entropy_against_numpy():
  logits, labels = random_logits(0, 50, 7)
  (loss,) = LOSSES['ce'].build()
  values, _ = loss(outputs(logits), examples(labels), CONTEXT)
  np.testing.assert_allclose(values, ce(logits, labels), rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_large_logits():
  values, _ = cross_entropy(
    outputs([[1e4, 0.0], [0.0, -1e4]]), examples(jnp.array([1, 0], jnp.int32)), CONTEXT
  )
  np.testing.assert_allclose(values, [1e4, 0.0], rtol=1e-6)


def test_cross_entropy_of_the_mean_of_the_experts():
  logits = jnp.array([[[4.0, 0.0], [-2.0, 0.0]]])  # their mean is (1, 0)
  values, _ = cross_entropy(Outputs(logits, jnp.zeros((1, 1))), examples(jnp.array([0])), CONTEXT)
  np.testing.assert_allclose(values, [0.313262], rtol=0, atol=1e-6)


def test_cross_entropy_of_half_precision_logits():
  values, _ = cross_entropy(
    outputs(jnp.zeros((2, 4), jnp.bfloat16)), examples(jnp.array([0, 3])), CONTEXT
  )
  assert values.dtype == jnp.float32
  np.testing.assert_allclose(values, [1.386294] * 2, rtol=0, atol=1e-6)


def test_gradient_is_softmax_minus_one_hot():
  logits, labels = random_logits(1)
  grad = jax.grad(lambda z: cross_entropy(outputs(z), examples(labels), CONTEXT)[0].sum())(
    jnp.asarray(logits)
  )
  e = np.exp(np.float64(logits) - logits.max(-1, keepdims=True))
  want = e / e.sum(-1, keepdims=True) - np.eye(3)[labels]
  np.testing.assert_allclose(grad, want, rtol=0, atol=1e-6)


# the reduction


def test_weighted_mean_by_hand():
  values, weights = jnp.array([1.0, 2.0, 6.0]), jnp.array([1.0, 3.0, 0.5])
  # (1 + 6 + 3) / 4.5, PyTorch's; over a batch of 8: 10 / 8
  np.testing.assert_allclose(weighted_mean(values, weights), 10 / 4.5, rtol=1e-6)
  np.testing.assert_allclose(weighted_mean(values, weights, 8.0), 1.25, rtol=1e-6)
  np.testing.assert_allclose(weighted_mean(values, jnp.ones(3)), 3.0, rtol=1e-6)


def test_weighted_mean_of_a_mask():
  values = jnp.array([1.0, 2.0, 100.0, 6.0])
  mask = jnp.array([1.0, 1.0, 0.0, 1.0])
  np.testing.assert_allclose(weighted_mean(values, mask), 3.0, rtol=1e-6)
  np.testing.assert_allclose(weighted_mean(values, mask, 4.0), 2.25, rtol=1e-6)


def test_weighted_mean_is_blind_to_the_scale_of_the_weights():
  values, weights = jnp.array([1.0, 2.0, 6.0]), jnp.array([0.1, 0.3, 0.05])
  np.testing.assert_allclose(
    weighted_mean(values, weights), weighted_mean(values, 40 * weights), rtol=1e-6
  )


@pytest.mark.parametrize('bad', [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize('divisor', [None, 4.0])
def test_a_masked_value_stays_out_of_value_and_gradient(bad, divisor):
  values, mask = jnp.array([1.0, bad, 3.0]), jnp.array([1.0, 0.0, 1.0])
  got, grad = jax.value_and_grad(lambda v: weighted_mean(v, mask, divisor))(values)
  d = divisor or 2.0
  np.testing.assert_allclose(got, 4 / d, rtol=1e-6)
  np.testing.assert_allclose(grad, [1 / d, 0, 1 / d], rtol=1e-6)


@pytest.mark.parametrize('divisor', [None, 4.0])
def test_no_weight_gives_zero(divisor):
  values = jnp.array([1.0, np.inf])
  got, grad = jax.value_and_grad(lambda v: weighted_mean(v, jnp.zeros(2), divisor))(values)
  assert got == 0
  np.testing.assert_array_equal(grad, [0, 0])


def test_weighted_mean_of_a_matrix():
  # per example and expert
  values = jnp.array([[1.0, 2.0], [3.0, 4.0]])
  np.testing.assert_allclose(
    weighted_mean(values, jnp.array([[1.0, 1.0], [0.0, 2.0]])), 11 / 4, rtol=1e-6
  )
