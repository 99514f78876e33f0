"""Class weights against the published constants, by hand and against double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.counts import class_counts
from fass_jax.losses import LOSSES, reweight
from fass_jax.losses.combine import pair_loss
from fass_jax.losses.weights import effective_number_weights, inverse_frequency_weights
from fass_jax.types import Classes, Context, Outputs, Targets

# head and tail of the deferred reweighting, beta .9999
DRW = [
  (500, 100, 10, 0.2582, 2.5247),
  (500, 100, 50, 0.0789, 3.8494),
  (500, 100, 100, 0.0449, 4.3783),
  (5000, 10, 10, 0.2923, 2.3585),
  (5000, 10, 50, 0.0890, 3.5206),
  (5000, 10, 100, 0.0506, 3.9927),
]
# beta, head, tail, ratio: CIFAR-100-LT, imbalance factor 100
BETAS = [
  (0.9, 0.8202, 2.0029, 2.44),
  (0.99, 0.1965, 3.9835, 20.27),
  (0.999, 0.0551, 4.3445, 78.9),
  (0.9999, 0.0449, 4.3783, 97.6),
]


@pytest.mark.parametrize('n_max, c, factor, head, tail', DRW)
def test_deferred_weights_of_cifar(n_max, c, factor, head, tail):
  w = effective_number_weights(class_counts(n_max, c, factor), 0.9999)
  np.testing.assert_allclose([w[0], w[-1]], [head, tail], rtol=0, atol=5.1e-5)
  np.testing.assert_allclose(w.sum(), c, rtol=1e-5)
  assert w.dtype == jnp.float32 and w.shape == (c,)


@pytest.mark.parametrize('beta, head, tail, ratio', BETAS)
def test_other_betas(beta, head, tail, ratio):
  w = effective_number_weights(class_counts(500, 100, 100), beta)
  np.testing.assert_allclose([w[0], w[-1]], [head, tail], rtol=0, atol=5.1e-5)
  np.testing.assert_allclose(w[-1] / w[0], ratio, rtol=0, atol=0.051)


@pytest.mark.parametrize('beta, ratio', [(0.99, 2.53), (0.999, 20.36), (0.9999, 78.89)])
def test_other_betas_of_ten_classes(beta, ratio):
  w = effective_number_weights(class_counts(5000, 10, 100), beta)
  np.testing.assert_allclose(w[-1] / w[0], ratio, rtol=0, atol=0.0051)
  np.testing.assert_allclose(w.sum(), 10, rtol=1e-5)


def test_both_normalisations_by_hand():
  """PyTorch's weighted mean, and the sum over the batch size of the authors' code."""
  # counts (1, 4), inverse frequency: weights (1.6, .4). p_y = 1/2 and 1/4: ln 2 and ln 4
  (loss,) = LOSSES['ce'].build()
  weighted = reweight(loss, lambda n: inverse_frequency_weights(n, 1.0), lambda t: jnp.ones(()))
  z = jnp.array([[[0.0, 0.0]], [[np.log(3), 0.0]], [[np.log(3), 0.0]]])
  outs, y = Outputs(z, jnp.zeros((3, 1))), jnp.array([0, 1, 1])
  context = Context(Classes(jnp.array([1, 4]), None, None), {}, None)
  args = (weighted, outs, Targets(y, y, jnp.ones(3)), jnp.ones(3), context, False)
  # 1.6 ln 2 + 2 (.4 ln 4) = 3.2 ln 2, over 2.4 or over 3
  np.testing.assert_allclose(pair_loss(*args), 4 / 3 * np.log(2), rtol=1e-6)
  np.testing.assert_allclose(pair_loss(*args, 3.0), 3.2 / 3 * np.log(2), rtol=1e-6)


def test_effective_number_by_hand():
  # beta = 1/2: E(1) = 1, E(2) = 3/2; weights 1 : 2/3, rescaled to a sum of 2
  w = effective_number_weights(jnp.array([1, 2]), 0.5)
  np.testing.assert_allclose(w, [1.2, 0.8], rtol=1e-6)


@pytest.mark.parametrize('beta', [0.9, 0.9999, 1 - 1 / 10847, 1 - 1e-7])
def test_effective_number_against_double_precision(beta):
  n = np.arange(1, 5001)
  want = 1.0 / -np.expm1(n * np.log1p(beta - 1.0))
  want *= len(n) / want.sum()
  np.testing.assert_allclose(effective_number_weights(n, beta), want, rtol=5e-6)


def test_beta_of_zero_and_near_one():
  n = class_counts(5000, 10, 100)
  np.testing.assert_array_equal(effective_number_weights(n, 0.0), np.ones(10))
  near = effective_number_weights(n, 1 - 1e-9)
  np.testing.assert_allclose(near, inverse_frequency_weights(n, 1.0), rtol=1e-5)


@pytest.mark.parametrize('beta', [1.0, -0.1, 1.5, np.nan])
def test_a_beta_out_of_range(beta):
  with pytest.raises(ValueError, match='not in'):
    effective_number_weights(jnp.array([1, 2]), beta)


def test_inverse_frequency_by_hand():
  n = jnp.array([1, 4, 16])
  np.testing.assert_allclose(
    inverse_frequency_weights(n, 1.0), np.array([16, 4, 1]) * 3 / 21, rtol=1e-6
  )
  root = inverse_frequency_weights(n, 0.5)
  np.testing.assert_allclose(root, np.array([4, 2, 1]) * 3 / 7, rtol=1e-6)
  np.testing.assert_array_equal(inverse_frequency_weights(n, 0.0), [1, 1, 1])


def test_equal_classes_weigh_one():
  n = jnp.full(7, 123)
  for w in (effective_number_weights(n, 0.9999), inverse_frequency_weights(n, 1.0)):
    np.testing.assert_allclose(w, np.ones(7), rtol=1e-6)


def test_an_empty_class_weighs_nothing():
  for w in (
    effective_number_weights(jnp.array([3, 0, 3]), 0.9999),
    effective_number_weights(jnp.array([3, 0, 3]), 0.0),
    inverse_frequency_weights(jnp.array([3, 0, 3]), 1.0),
  ):
    np.testing.assert_allclose(w, [1.5, 0, 1.5], rtol=1e-6)


def test_under_jit():
  n = jnp.asarray(class_counts(500, 100, 100))
  for f in (effective_number_weights, inverse_frequency_weights):
    np.testing.assert_allclose(jax.jit(lambda n, f=f: f(n, 0.5))(n), f(n, 0.5), rtol=1e-6)
