"""Binary cross entropy and detection's focal loss: by hand, against NumPy, far out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import sigmoid
from fass_jax.losses.build import LOSSES
from fass_jax.types import Classes, Context, Outputs
from tests.by_hand import examples
from tests.losses import oracle

sigmoid_loss = jax.jit(sigmoid.sigmoid_loss)
focal_sigmoid = jax.jit(sigmoid.focal_sigmoid, static_argnames=('gamma', 'alpha'))


def by_class(logits, labels, gamma=0.0, alpha=None):
  z = np.asarray(logits, np.float64)
  own = np.eye(z.shape[1])[labels]
  p = 1 / (1 + np.exp(-z))
  p = np.where(own, p, 1 - p)
  weight = 1.0 if alpha is None else np.where(own, alpha, 1 - alpha)
  return (weight * (1 - p) ** gamma * -np.log(p)).sum(-1)


def test_by_hand():
  # sigmoid(0, ln 3) = (1/2, 3/4); of class 0: ln 2 + ln 4
  z, y = jnp.array([[0.0, np.log(3)], [0.0, np.log(3)]]), jnp.array([0, 1])
  np.testing.assert_allclose(sigmoid_loss(z, y), np.log([8, 8 / 3]), rtol=1e-6)
  # gamma 2: 1/4 ln 2 + 9/16 ln 4; and 1/4 ln 2 + 1/16 ln 4/3
  want = [np.log(2) / 4 + 9 / 16 * np.log(4), np.log(2) / 4 + np.log(4 / 3) / 16]
  np.testing.assert_allclose(focal_sigmoid(z, y, 2.0), want, rtol=1e-6)
  # alpha .25: a quarter of the own class, three of the other
  want = [np.log(2) / 16 + 27 / 64 * np.log(4), 3 * np.log(2) / 16 + np.log(4 / 3) / 64]
  np.testing.assert_allclose(focal_sigmoid(z, y, 2.0, 0.25), want, rtol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('gamma, alpha', [(0.0, None), (0.5, None), (1.0, 0.25), (2.0, 0.25)])
def test_against_numpy(gamma, alpha, dtype):
  logits, labels = oracle.random_logits(0, 50, 10)
  logits = jnp.asarray(logits, dtype)
  got = focal_sigmoid(logits, labels, gamma, alpha)
  want = by_class(np.asarray(logits, np.float64), labels, gamma, alpha)
  np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
  assert got.dtype == jnp.float32


def test_gamma_of_zero_is_binary_cross_entropy():
  logits, labels = oracle.random_logits(1, 20, 5)
  np.testing.assert_allclose(
    focal_sigmoid(logits, labels, 0.0), sigmoid_loss(logits, labels), rtol=1e-6
  )
  np.testing.assert_allclose(sigmoid_loss(logits, labels), by_class(logits, labels), rtol=1e-5)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0])
def test_extreme_logits(gamma, dtype):
  # wrong beyond doubt in both classes, then right beyond doubt
  z = jnp.array([[-1e4, 1e4], [1e4, -1e4]], dtype)
  y = jnp.array([0, 0])
  values = focal_sigmoid(z, y, gamma)
  grad = jax.grad(lambda x: focal_sigmoid(x, y, gamma).sum())(z)
  # a badly wrong positive keeps its factor of 1; 1e4 is 9984 in bfloat16
  np.testing.assert_allclose(values[0], 2e4, rtol=2e-3)
  assert values[1] == 0
  np.testing.assert_allclose(np.asarray(grad, np.float32), [[-1, 1], [0, 0]], atol=1e-6)


def test_the_biases_that_keep_the_negatives_small():
  # all biases at -log(C - 1) = sigmoid 1/C: the sum is below log C + 1, and not C log 2
  c = 8142
  value = sigmoid_loss(jnp.full((1, c), -np.log(c - 1.0)), jnp.array([0]))
  assert np.log(c) < float(value[0]) < np.log(c) + 1.001


def test_alpha_of_zero_in_a_config_is_none():
  z, y = oracle.random_logits(2, 8, 3)
  (loss,) = LOSSES['focal_sigmoid'].build(gamma=1.0, alpha=0.0)
  outs = Outputs(jnp.asarray(z)[:, None], jnp.zeros((8, 1)))
  values, _ = loss(
    outs, examples(jnp.asarray(y)), Context(Classes(jnp.ones(3), None, None), {}, None)
  )
  np.testing.assert_allclose(values, by_class(z, y, 1.0), rtol=1e-5)
