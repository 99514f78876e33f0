"""The pairwise margin loss by hand and against NumPy, and the losses that follow from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.counts import class_counts
from fass_jax.losses import margins, pairwise, prior
from fass_jax.losses.build import LOSSES
from fass_jax.losses.softmax import cross_entropy
from fass_jax.losses.weights import inverse_frequency_weights
from fass_jax.types import Classes, Context, Outputs
from tests.by_hand import examples
from tests.losses import oracle

N = np.array([400, 50, 9, 1, 40])
PI = N / N.sum()
Z, Y = oracle.random_logits(0, 60, 5)
NO = np.zeros((5, 5))


def by_sum(z, labels, weight, margin):
  """a_y log(1 + sum_{y' != y} e^{D_yy' + z_y' - z_y}), term by term in double precision."""
  z, values = np.asarray(z, np.float64), []
  for row, y in zip(z, labels):
    total = sum(np.exp(margin[y, k] + row[k] - row[y]) for k in range(len(row)) if k != y)
    values.append(weight[y] * np.log1p(total))
  return np.array(values)


def close(got, want):
  assert got.dtype == jnp.float32 and got.shape == (60,)
  np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_by_hand():
  # class 0: 3 log(1 + e^{ln 2} e^0) = 3 ln 3; class 1: .5 log(1 + e^{ln 5 + ln 2}) = .5 ln 11
  z = jnp.array([[0.0, 0.0], [np.log(5), 0.0]])
  margin = jnp.log(jnp.array([[7.0, 2.0], [2.0, 1e9]]))
  got = pairwise.pairwise_margin_loss(z, jnp.array([0, 1]), jnp.array([3.0, 0.5]), margin)
  np.testing.assert_allclose(got, [3 * np.log(3), 0.5 * np.log(11)], rtol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_against_the_sum(dtype):
  rng = np.random.default_rng(1)
  margin, weight = rng.normal(0, 2, (5, 5)), rng.uniform(0, 3, 5)
  z = jnp.asarray(Z, dtype)
  got = pairwise.pairwise_margin_loss(z, Y, jnp.asarray(weight), jnp.asarray(margin))
  close(got, by_sum(np.asarray(z, np.float64), Y, weight, margin))


def test_the_diagonal_is_ignored():
  margin = np.random.default_rng(2).normal(size=(5, 5)).astype(np.float32)
  one, two = (
    pairwise.pairwise_margin_loss(Z, Y, jnp.ones(5), jnp.asarray(margin + d * np.eye(5)))
    for d in (0.0, 50.0)
  )
  np.testing.assert_array_equal(one, two)


# the losses of the family, each against its alpha and Delta

LOG = np.log(PI)
LA = LOG[None, :] - LOG[:, None]
RARE = np.where(PI < 0.05, 0.1, 1.0)  # of N, 9 and 1 of 500
FAMILY = {
  'balanced_softmax': (lambda z, y, n: prior.balanced_softmax(z, y, n), 1 + 0 * PI, LA),
  'logit_adjustment': (lambda z, y, n: prior.logit_adjustment(z, y, n, 1.5), 1 + 0 * PI, 1.5 * LA),
  'ldam': (
    lambda z, y, n: margins.ldam(z, y, n, 30.0, 0.5),
    1 + 0 * PI,
    30 * 0.5 * N[:, None] ** -0.25 + NO,
  ),
  'equalised': (
    lambda z, y, n: prior.equalised(z, y, n, 0.9, 0.05),
    1 + 0 * PI,
    np.log(RARE)[None, :] + NO,
  ),
  'two_rate': (
    lambda z, y, n: prior.two_rate(z, y, n, 0.5, 2.0),
    1 + 0 * PI,
    2 * LOG[None, :] - 0.5 * LOG[:, None],
  ),
  'weighted_la': (
    lambda z, y, n: prior.weighted_logit_adjustment(z, y, n, 0.25),
    PI**-0.75 * 5 / (PI**-0.75).sum(),
    0.25 * LA,
  ),
  'la_adaptive': (
    lambda z, y, n: prior.la_adaptive(z, y, n),
    1 + 0 * PI,
    LA + PI[:, None] ** -0.25,
  ),
  'weighted': (
    lambda z, y, n: pairwise.weighted_cross_entropy(z, y, 1 / (n / n.sum())),
    1 / PI,
    NO,
  ),
}


@pytest.mark.parametrize('name', FAMILY)
def test_the_family(name):
  loss, alpha, margin = FAMILY[name]
  got = loss(jnp.asarray(Z), Y, jnp.asarray(N, float))
  want = by_sum(Z, Y, alpha, margin)
  np.testing.assert_allclose(got, want, rtol=3e-5, atol=2e-5)
  again = pairwise.pairwise_margin_loss(Z, Y, jnp.asarray(alpha), jnp.asarray(margin))
  np.testing.assert_allclose(got, again, rtol=3e-5, atol=2e-5)


def test_cross_entropy_is_the_family_without_margins():
  want = cross_entropy(Z, Y)
  np.testing.assert_array_equal(
    pairwise.pairwise_margin_loss(Z, Y, jnp.ones(5), jnp.zeros((5, 5))), want
  )
  np.testing.assert_array_equal(pairwise.weighted_cross_entropy(Z, Y, jnp.ones(5)), want)
  np.testing.assert_array_equal(prior.equalised(Z, Y, N, 0.0, 0.05), want)
  np.testing.assert_array_equal(prior.two_rate(Z, Y, N, 0.0, 0.0), want)


def test_equal_classes_are_cross_entropy():
  n, want = jnp.full(5, 30), cross_entropy(Z, Y)
  close(prior.two_rate(Z, Y, n, 2.0, 2.0), want)
  close(prior.weighted_logit_adjustment(Z, Y, n, 0.3), want)
  close(prior.equalised(Z, Y, n, 0.9, 0.005), want)


def test_what_is_logit_adjustment():
  want = prior.logit_adjustment(Z, Y, N)
  close(prior.weighted_logit_adjustment(Z, Y, N, 1.0), want)
  close(prior.la_adaptive(Z, Y, N, 0.0), want)
  close(prior.two_rate(Z, Y, N, 1.0, 1.0), want)


def test_weighted_la_of_zero_is_the_inverse_frequency():
  close(
    prior.weighted_logit_adjustment(Z, Y, N, 0.0),
    np.asarray(inverse_frequency_weights(N, 1.0))[Y] * oracle.ce(Z, Y),
  )


def test_by_hand_with_two_classes():
  # counts (3, 1) and equal logits; pi = (3/4, 1/4)
  z, y, n = jnp.zeros((2, 2)), jnp.array([0, 1]), jnp.array([3, 1])
  # D_01 = 2 log 1/4 - log 3/4 = log 1/12, D_10 = 2 log 3/4 - log 1/4 = log 9/4
  got = prior.two_rate(z, y, n, 1.0, 2.0)
  np.testing.assert_allclose(got, np.log([13 / 12, 13 / 4]), rtol=1e-6)
  # the second is rare: it pushes the first up with .1 of its weight
  got = prior.equalised(z, y, n, 0.9, 0.5)
  np.testing.assert_allclose(got, np.log([1.1, 2.0]), rtol=1e-6)
  # tau = 1/2: weights (1, sqrt 3) rescaled to a sum of 2; odds of sqrt(1/3) and sqrt 3
  got, root = prior.weighted_logit_adjustment(z, y, n, 0.5), np.sqrt(3)
  want = 2 / (1 + root) * np.array([np.log1p(1 / root), root * np.log1p(root)])
  np.testing.assert_allclose(got, want, rtol=1e-6)
  # (16, 1) of 17 scaled so that pi^(-1/4) is known: D = log(1/16) + (17/16)^(1/4)
  got = prior.la_adaptive(z, y, jnp.array([16, 1]))
  want = np.log1p([np.exp((17 / 16) ** 0.25) / 16, np.exp(17**0.25) * 16])
  np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize('name', [n for n in FAMILY if n != 'weighted'])
def test_an_empty_class(name):
  """Of others, it leaves the sum or stays finite; as a label it is finite too."""
  loss, _, _ = FAMILY[name]
  n = jnp.array([400, 50, 0, 1, 40])
  value, grad = jax.value_and_grad(lambda z: loss(z, jnp.arange(5), n).sum())(jnp.asarray(Z[:5]))
  assert np.isfinite(value) and np.isfinite(grad).all()


@pytest.mark.parametrize('name', [n for n in FAMILY if n not in ('ldam', 'weighted')])
def test_blind_to_the_scale_of_the_counts(name):
  loss, _, _ = FAMILY[name]
  close(loss(Z, Y, jnp.asarray(N)), loss(Z, Y, jnp.asarray(1000 * N)))


def test_many_classes_need_no_square_array():
  """Of 8,142 classes, D as a square would be 66 million numbers; the rows are 16,284."""
  counts = class_counts(1000, 8142, 500)
  text = jax.jit(prior.la_adaptive).lower(jnp.zeros((2, 8142)), jnp.arange(2), counts).as_text()
  assert '8142x8142' not in text and '2x8142' in text


def test_a_weighted_loss_keeps_its_weights_apart():
  (loss,) = LOSSES['weighted_la'].build(tau=0.25)
  outs = Outputs(jnp.asarray(Z)[:, None], jnp.zeros((60, 1)))
  values, weights = loss(
    outs, examples(jnp.asarray(Y)), Context(Classes(jnp.asarray(N), None, None), {}, None)
  )
  close(values, prior.logit_adjustment(Z, Y, N, 0.25))
  close(values * weights, prior.weighted_logit_adjustment(Z, Y, N, 0.25))
