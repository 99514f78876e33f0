"""Losses per example, and the one place where they are reduced: Eq. 8b and 9."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import LOSSES
from fass_jax.losses.combine import pair_loss, term_loss, total_loss, weighted_mean
from fass_jax.recipe.optimiser import piecewise
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Outputs, Targets, Term, Time

(cross_entropy,) = LOSSES['ce'].build()
NOW = Time(jnp.int32(0), jnp.int32(0), jnp.float32(0))
CONTEXT = (index_classes(np.array([0, 0, 1, 2]), 3), {}, NOW)


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
  values, weights = cross_entropy(outputs(logits), jnp.array([0, 1, 0]), *CONTEXT)
  np.testing.assert_allclose(values, [1.386294, 0.287682, 0.693147], rtol=0, atol=1e-6)
  np.testing.assert_array_equal(weights, [1, 1, 1])
  assert values.dtype == weights.dtype == jnp.float32


def test_cross_entropy_against_numpy():
  logits, labels = random_logits(0, 50, 7)
  (loss,) = LOSSES['ce'].build()
  values, _ = loss(outputs(logits), labels, *CONTEXT)
  np.testing.assert_allclose(values, ce(logits, labels), rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_large_logits():
  values, _ = cross_entropy(
    outputs([[1e4, 0.0], [0.0, -1e4]]), jnp.array([1, 0], jnp.int32), *CONTEXT
  )
  np.testing.assert_allclose(values, [1e4, 0.0], rtol=1e-6)


def test_cross_entropy_of_the_mean_of_the_experts():
  logits = jnp.array([[[4.0, 0.0], [-2.0, 0.0]]])  # their mean is (1, 0)
  values, _ = cross_entropy(Outputs(logits, jnp.zeros((1, 1))), jnp.array([0]), *CONTEXT)
  np.testing.assert_allclose(values, [0.313262], rtol=0, atol=1e-6)


def test_cross_entropy_of_half_precision_logits():
  values, _ = cross_entropy(outputs(jnp.zeros((2, 4), jnp.bfloat16)), jnp.array([0, 3]), *CONTEXT)
  assert values.dtype == jnp.float32
  np.testing.assert_allclose(values, [1.386294] * 2, rtol=0, atol=1e-6)


def test_gradient_is_softmax_minus_one_hot():
  logits, labels = random_logits(1)
  grad = jax.grad(lambda z: cross_entropy(outputs(z), labels, *CONTEXT)[0].sum())(
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


# pair targets

A, B = jnp.array([0, 1, 0], jnp.int32), jnp.array([1, 1, 0], jnp.int32)
LAM = jnp.array([0.25, 0.5, 1.0])
PAIR = Targets(A, B, LAM)
# softmax (1/4, 3/4): ln 4 for class 0, ln 4/3 for class 1
LOGITS = np.log([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]]).astype(np.float32)
L0, L1 = 1.386294, 0.287682
ALL = jnp.ones(3, bool)


def class_weighted(outs, labels, classes, signals, t):
  """Cross entropy with weight 1 for class 0 and 3 for class 1."""
  values, _ = cross_entropy(outs, labels, classes, signals, t)
  return values, jnp.where(labels == 1, 3.0, 1.0)


def test_pair_loss_by_hand():
  got = pair_loss(cross_entropy, outputs(LOGITS), PAIR, ALL, CONTEXT, True)
  # first labels: .25 L0 + .5 L1 + 1 L0; second: .75 L1 + .5 L1 + 0 L0
  np.testing.assert_allclose(got, (1.25 * L0 + 0.5 * L1) / 3 + 1.25 * L1 / 3, rtol=1e-5)


def test_each_half_has_its_own_weighted_mean():
  got = pair_loss(class_weighted, outputs(LOGITS), PAIR, ALL, CONTEXT, True)
  # weights of the first labels 1, 3, 1, of the second 3, 3, 1
  first = (0.25 * L0 + 3 * 0.5 * L1 + L0) / 5
  second = (3 * 0.75 * L1 + 3 * 0.5 * L1 + 0) / 7
  np.testing.assert_allclose(got, first + second, rtol=1e-5)


def test_pair_loss_with_mask_and_divisor():
  mask = jnp.array([True, True, False])
  got = pair_loss(cross_entropy, outputs(LOGITS), PAIR, mask, CONTEXT, True)
  total = 0.25 * L0 + 0.5 * L1 + 0.75 * L1 + 0.5 * L1
  np.testing.assert_allclose(got, total / 2, rtol=1e-5)
  got = pair_loss(cross_entropy, outputs(LOGITS), PAIR, mask, CONTEXT, True, 8.0)
  np.testing.assert_allclose(got, total / 8, rtol=1e-5)


def test_single_label_reads_neither_lam_nor_the_second_label():
  got = pair_loss(cross_entropy, outputs(LOGITS), PAIR, ALL, CONTEXT, False)
  np.testing.assert_allclose(got, (2 * L0 + L1) / 3, rtol=1e-5)
  same = pair_loss(cross_entropy, outputs(LOGITS), Targets(A, A, jnp.ones(3)), ALL, CONTEXT, True)
  np.testing.assert_allclose(got, same, rtol=1e-6)


def test_lam_swaps_the_labels():
  swapped = Targets(B, A, 1 - LAM)
  one, two = (
    pair_loss(class_weighted, outputs(LOGITS), t, ALL, CONTEXT, True) for t in (PAIR, swapped)
  )
  np.testing.assert_allclose(one, two, rtol=1e-6)


def test_pair_loss_is_cross_entropy_against_the_soft_label():
  logits, a = random_logits(2)
  b, lam = np.roll(a, 1), np.linspace(0, 1, 6, dtype=np.float32)
  got = pair_loss(
    cross_entropy, outputs(logits), Targets(a, b, jnp.asarray(lam)), jnp.ones(6), CONTEXT, True
  )
  soft = lam[:, None] * np.eye(3)[a] + (1 - lam)[:, None] * np.eye(3)[b]
  z = np.float64(logits)
  log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
  np.testing.assert_allclose(got, -(soft * log_p).sum(-1).mean(), rtol=1e-5)


def test_pair_loss_of_experts():
  # a loss with a value for each expert, masked and shared by example
  def per_expert(outs, labels, classes, signals, t):
    values = jnp.stack([labels + 1.0, 10.0 * (labels + 1.0)], axis=1)
    return values, jnp.ones_like(values)

  mask = jnp.array([True, False, True])
  got = pair_loss(per_expert, outputs(LOGITS), PAIR, mask, CONTEXT, True)
  # a: .25 * 11 + 1 * 11, b: .75 * 22 + 0; over 2 examples x 2 experts
  np.testing.assert_allclose(got, (13.75 + 16.5) / 4, rtol=1e-6)


def test_an_infinite_loss_in_a_masked_place():
  logits = LOGITS.copy()
  logits[1] = [np.inf, 0.0]
  mask = jnp.array([True, False, True])
  for mixed in (True, False):
    got = pair_loss(cross_entropy, outputs(logits), PAIR, mask, CONTEXT, mixed)
    want = pair_loss(cross_entropy, outputs(LOGITS), PAIR, mask, CONTEXT, mixed)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert np.isfinite(got)


# Eq. 8b and 9


def test_separation_loss_is_the_sum_of_its_views():
  np.testing.assert_allclose(term_loss([jnp.float32(1.5), jnp.float32(0.25)]), 1.75, rtol=1e-6)
  np.testing.assert_allclose(term_loss([jnp.float32(1.5)]), 1.5, rtol=1e-6)


def term(weight, views=('natural',)):
  return Term(views, (cross_entropy,), False, piecewise(weight, 200), False, 128)


def test_total_loss_with_alpha():
  terms = {'natural': term(1.0), 'fs': term(0.8, ('mixup', 'cutmix'))}
  values = {'natural': jnp.float32(2.0), 'fs': jnp.float32(3.0)}
  np.testing.assert_allclose(total_loss(terms, values, NOW), 4.4, rtol=1e-6)


def test_total_loss_leaves_out_what_is_off():
  terms = {'natural': term(1.0), 'fs': term(0.8)}
  np.testing.assert_allclose(total_loss(terms, {'natural': jnp.float32(2.0)}, NOW), 2.0, rtol=1e-6)


def test_total_loss_with_a_weight_over_time():
  terms = {'natural': term(((0, 1.0), (0.8, 0.5)))}
  for epoch, want in ((159, 2.0), (160, 1.0)):
    t = Time(jnp.int32(0), jnp.int32(epoch), jnp.float32(0))
    np.testing.assert_allclose(total_loss(terms, {'natural': jnp.float32(2.0)}, t), want, rtol=1e-6)


def test_gradient_of_fass():
  # dL/dz = dL(z_i)/dz_i and alpha dL_FS/dz of each view, by the chain of the three functions
  z, labels = random_logits(3)
  terms = {'natural': term(1.0), 'fs': term(0.8)}
  targets = Targets(labels, labels, jnp.ones(6))

  def loss(views):
    one = {
      k: pair_loss(cross_entropy, outputs(v), targets, jnp.ones(6), CONTEXT, False)
      for k, v in views.items()
    }
    values = {
      'natural': term_loss([one['natural']]), 'fs': term_loss([one['mixup'], one['cutmix']])
    }  # fmt: skip
    return total_loss(terms, values, NOW)

  views = {k: jnp.asarray(z) for k in ('natural', 'mixup', 'cutmix')}
  value, grad = jax.value_and_grad(loss)(views)
  np.testing.assert_allclose(value, 2.6 * ce(z, labels).mean(), rtol=1e-5)
  for view in ('mixup', 'cutmix'):
    np.testing.assert_allclose(grad[view], 0.8 * grad['natural'], rtol=1e-5, atol=1e-8)
