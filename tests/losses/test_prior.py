"""Balanced softmax, logit adjustment and the post-hoc move: by hand and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.classifiers import prior_shift
from fass_jax.counts import class_counts
from fass_jax.losses import prior, softmax
from tests.losses import oracle

# one program a shape compiles faster than every operation alone
balanced_softmax, logit_adjustment = (
  jax.jit(prior.balanced_softmax),
  jax.jit(prior.logit_adjustment),
)
soft = jax.jit(prior.soft_logit_adjustment)
cross_entropy = jax.jit(softmax.cross_entropy)

N = class_counts(500, 100, 100)


def test_by_hand():
  # equal logits: the class shares themselves, 3/4 and 1/4
  z, y, n = jnp.zeros((2, 2)), jnp.array([0, 1]), jnp.array([30, 10])
  np.testing.assert_allclose(balanced_softmax(z, y, n), [np.log(4 / 3), np.log(4)], rtol=1e-6)
  np.testing.assert_allclose(logit_adjustment(z, y, n), [np.log(4 / 3), np.log(4)], rtol=1e-6)
  # tau = 2: 9 to 1
  np.testing.assert_allclose(
    logit_adjustment(z, y, n, 2.0), [np.log(10 / 9), np.log(10)], rtol=1e-6
  )


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('tau', [0.5, 1.0, 2.0])
def test_against_numpy(tau, dtype):
  logits, labels = oracle.random_logits(0, 50, 100)
  logits = jnp.asarray(logits, dtype)
  z = np.asarray(logits, np.float64)
  got = logit_adjustment(logits, labels, N, tau)
  want = oracle.ce(z + tau * np.log(N / N.sum()), labels)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
  assert got.dtype == jnp.float32


@pytest.mark.parametrize('tau', [0.0, 0.9])
def test_soft_targets(tau):
  z, y = oracle.random_logits(5, 6, 4)
  n = np.array([50, 20, 0, 5])
  # of one class: the loss of the class, an empty one too
  np.testing.assert_allclose(
    soft(z, np.eye(4)[y], n, tau), logit_adjustment(z, y, n, tau), rtol=1e-5, atol=1e-5
  )
  assert 2 in y
  t = np.random.default_rng(6).dirichlet([1, 1, 1, 1], 6)
  adjusted = z + tau * np.log(np.maximum(n, 1) / n.sum())
  log_p = adjusted - np.log(np.exp(adjusted).sum(1, keepdims=True))
  np.testing.assert_allclose(soft(z, t, n, tau), -(t * log_p).sum(1), rtol=1e-5)


def test_tau_of_one_is_the_balanced_softmax():
  logits, labels = oracle.random_logits(1, 50, 100)
  one, two = logit_adjustment(logits, labels, N, 1.0), balanced_softmax(logits, labels, N)
  np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(two, oracle.ce(logits + np.log(N), labels), rtol=1e-5, atol=1e-5)


def test_blind_to_the_scale_of_the_counts():
  logits, labels = oracle.random_logits(2, 50, 100)
  for f in (balanced_softmax, logit_adjustment):
    np.testing.assert_allclose(
      f(logits, labels, N), f(logits, labels, 1000 * N), rtol=1e-5, atol=1e-5
    )


def test_tau_of_zero_and_equal_classes_are_cross_entropy():
  logits, labels = oracle.random_logits(3, 20, 5)
  want, empty = cross_entropy(logits, labels), jnp.array([5, 0, 3, 0, 1])
  np.testing.assert_allclose(logit_adjustment(logits, labels, empty, 0.0), want, rtol=1e-6)
  for f in (balanced_softmax, logit_adjustment):
    np.testing.assert_allclose(f(logits, labels, jnp.full(5, 7)), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('f', [balanced_softmax, logit_adjustment])
def test_an_empty_class_leaves_the_sum(f):
  logits, n = jnp.array([[1.0, 50.0, 2.0]]), jnp.array([10, 0, 30])
  value, grad = jax.value_and_grad(lambda z: f(z, jnp.array([0]), n).sum())(logits)
  want = oracle.ce(np.array([[1 + np.log(10), 2 + np.log(30)]]), [0])
  np.testing.assert_allclose(value, want[0], rtol=1e-6)
  assert np.isfinite(grad).all() and grad[0, 1] == 0


@pytest.mark.parametrize('f', [balanced_softmax, logit_adjustment])
@pytest.mark.parametrize('size', [1.0, 1e4, -1e4])
def test_gradient(f, size):
  logits = jnp.array([[-size, 0.0, 1.0]], jnp.float32)
  labels, n = jnp.array([0]), np.array([5, 50, 500])
  got = jax.grad(lambda z: f(z, labels, n).sum())(logits)
  want = oracle.softmax(np.float64(logits) + np.log(n)) - np.eye(3)[[0]]
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
  assert (size < 0) or np.abs(got).max() > 0.5


# the move to another prior after training


def test_post_hoc_by_hand():
  z = jnp.log(jnp.array([[0.6, 0.4], [0.5, 0.5]]))
  # the odds 3/2 and 1 were got with three images of one class to one of the other
  got = jax.nn.softmax(prior_shift.post_hoc(z, jnp.array([30, 10]), jnp.array([1, 1])))
  np.testing.assert_allclose(got, [[1 / 3, 2 / 3], [1 / 4, 3 / 4]], rtol=1e-6)
  # to nine of the second for one of the first: odds 3/2 / 3 / 9
  got = jax.nn.softmax(prior_shift.post_hoc(z, jnp.array([30, 10]), jnp.array([0.1, 0.9])))
  np.testing.assert_allclose(got, [[1 / 19, 18 / 19], [1 / 28, 27 / 28]], rtol=1e-6)


def test_post_hoc_is_bayes_rule():
  """From p(x | y) of a table: the posterior under one prior moved to that under the other."""
  rng = np.random.default_rng(0)
  likelihood = rng.dirichlet(np.ones(50), 6).T  # [x, y]
  old, new = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
  got = jax.nn.softmax(
    prior_shift.post_hoc(np.float32(np.log(likelihood * old)), 300 * old, 7 * new)
  )
  want = likelihood * new / (likelihood @ new)[:, None]
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_post_hoc_between_equal_priors_changes_no_bit():
  logits, _ = oracle.random_logits(4, 50, 100)
  np.testing.assert_array_equal(prior_shift.post_hoc(logits, N, N), logits)


def test_post_hoc_rules_out_a_class_that_cannot_come():
  logits, _ = oracle.random_logits(5, 20, 3)
  got = prior_shift.post_hoc(logits, np.ones(3), np.array([1, 0, 1]))
  assert (got[:, 1] == -np.inf).all()
  np.testing.assert_allclose(
    jax.nn.softmax(got)[:, [0, 2]], oracle.softmax(logits[:, [0, 2]]), rtol=1e-5
  )


def test_post_hoc_undoes_the_balanced_softmax():
  """The balanced softmax puts back what the move to a uniform prior took out."""
  logits, labels = oracle.random_logits(6, 50, 100)
  balanced = prior_shift.post_hoc(logits, N, np.ones(100))
  np.testing.assert_allclose(
    balanced_softmax(balanced, labels, N), cross_entropy(logits, labels), rtol=1e-4, atol=1e-4
  )
