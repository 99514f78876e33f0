"""Distillation by hand, against NumPy, and where it is zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import LOSSES, distillation
from fass_jax.types import Context, Outputs
from tests.by_hand import examples
from tests.losses import oracle

distill = jax.jit(distillation.distillation, static_argnums=(2, 3))


def pair(seed=0, b=6, c=5):
  rng = np.random.default_rng(seed)
  return (rng.normal(0, 3, (b, c)).astype(np.float32) for _ in range(2))


def test_by_hand():
  # at T = 2 the teacher (ln 9, 0) is (3/4, 1/4), the student (0, 0) is (1/2, 1/2)
  got = distill(jnp.zeros((1, 2)), jnp.array([[np.log(9.0), 0.0]]), 2.0)
  want = 4 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5))
  np.testing.assert_allclose(got, [want], rtol=1e-5)
  assert want == pytest.approx(0.523248, abs=1e-6)


def test_a_flattened_teacher_by_hand():
  """(16/17, 1/17) at T = 1, to the power of 1/2 and scaled to sum 1: (4/5, 1/5)."""
  got = distill(jnp.zeros((1, 2)), jnp.array([[np.log(16.0), 0.0]]), 1.0, 0.5)
  np.testing.assert_allclose(got, [0.8 * np.log(1.6) + 0.2 * np.log(0.4)], rtol=1e-5)


@pytest.mark.parametrize(('temperature', 'power'), [(1.0, 1.0), (1.5, 1.0), (4.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_against_numpy(temperature, power, dtype):
  student, teacher = (jnp.asarray(z, dtype) for z in pair())
  got = distill(student, teacher, temperature, power)
  p, q = (oracle.log_softmax(np.asarray(z, np.float64) / temperature) for z in (teacher, student))
  p = power * p
  p -= np.log(np.exp(p).sum(-1, keepdims=True))
  want = temperature**2 * (np.exp(p) * (p - q)).sum(-1)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  assert got.dtype == jnp.float32 and got.shape == (6,)


def test_gradient_is_that_of_the_student_alone():
  student, teacher = map(jnp.asarray, pair(1))
  ds, dt = jax.grad(lambda s, t: distill(s, t, 1.5).sum(), (0, 1))(student, teacher)
  q, p = (oracle.softmax(np.float64(z) / 1.5) for z in (student, teacher))
  np.testing.assert_allclose(ds, 1.5 * (q - p), rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(dt, np.zeros_like(dt))


def test_an_equal_teacher_has_nothing_to_say():
  z = jnp.asarray(next(pair(2)))
  value, grad = jax.value_and_grad(lambda s: distill(s, z, 1.5).sum())(z)
  np.testing.assert_allclose(value, 0.0, atol=1e-6)
  np.testing.assert_allclose(grad, np.zeros_like(grad), atol=1e-6)
  # a constant more in every logit is the same teacher
  np.testing.assert_allclose(distill(z + 7.0, z, 1.5), np.zeros(6), atol=1e-5)


def test_extreme_logits():
  z = jnp.array([[1e4, -1e4, 0.0]])
  value, grad = jax.value_and_grad(lambda s: distill(s, z, 1.5).sum())(-z)
  assert np.isfinite(value) and value > 1e4 and np.isfinite(grad).all()


def test_the_student_is_the_mean_of_its_experts():
  z, teacher = pair(3)
  experts = jnp.stack([jnp.asarray(z) + d for d in (-1.0, 0.0, 1.0)], axis=1)
  outs = Outputs(experts, jnp.zeros((6, 1)), teacher=jnp.asarray(teacher))
  (loss,) = LOSSES['distillation'].build(temperature=1.5)
  values, weights = loss(outs, examples(None), Context(None, {}, None))
  np.testing.assert_allclose(values, distill(z, teacher, 1.5), rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(weights, np.ones(6))
