"""How losses become the objective: labels of mixed images, terms, their sum (Eq. 8b and 9)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses.combine import pair_loss, term_loss, total_loss
from fass_jax.recipe.optimiser import piecewise
from fass_jax.types import Targets, Term, Time
from tests.losses.test_losses import CONTEXT, NOW, ce, cross_entropy, outputs, random_logits

A, B = jnp.array([0, 1, 0], jnp.int32), jnp.array([1, 1, 0], jnp.int32)
LAM = jnp.array([0.25, 0.5, 1.0])
PAIR = Targets(A, B, LAM)
# softmax (1/4, 3/4): ln 4 for class 0, ln 4/3 for class 1
LOGITS = np.log([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]]).astype(np.float32)
L0, L1 = 1.386294, 0.287682
ALL = jnp.ones(3, bool)


def class_weighted(outs, examples, context):
  """Cross entropy with weight 1 for class 0 and 3 for class 1."""
  values, _ = cross_entropy(outs, examples, context)
  return values, jnp.where(examples.labels == 1, 3.0, 1.0)


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
  def per_expert(outs, examples, context):
    values = jnp.stack([examples.labels + 1.0, 10.0 * (examples.labels + 1.0)], axis=1)
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


@pytest.mark.parametrize(
  'labels, want, calls',
  [
    ('both', (1.25 * L0 + 0.5 * L1) / 3 + 1.25 * L1 / 3, 2),
    ('own', (2 * L0 + L1) / 3, 1),  # A is 0, 1, 0
    ('unmixed', L0, 1),  # the third row alone has lam = 1
  ],
)
def test_a_loss_says_which_labels_of_a_mixed_image_it_takes(labels, want, calls):
  seen = []

  def loss(outs, examples, context):
    seen.append(examples)
    return cross_entropy(outs, examples, context)

  got = pair_loss(loss, outputs(LOGITS), PAIR, ALL, CONTEXT, True, labels=labels)
  np.testing.assert_allclose(got, want, rtol=1e-5)
  assert len(seen) == calls and all(x.targets is PAIR for x in seen)
  np.testing.assert_array_equal(seen[0].mask, [labels != 'unmixed'] * 2 + [True])


def test_a_loss_of_the_pair_itself_sees_both_labels_and_their_share():
  """Cross entropy against lam a + (1 - lam) b, which is the sum of both halves."""

  def soft(outs, examples, context):
    a, b, lam = examples.targets[:3]
    label = lam[:, None] * jax.nn.one_hot(a, 2) + (1 - lam[:, None]) * jax.nn.one_hot(b, 2)
    values = -(label * jax.nn.log_softmax(outs.logits[:, 0])).sum(-1)
    return values, jnp.ones_like(values)

  got = pair_loss(soft, outputs(LOGITS), PAIR, ALL, CONTEXT, True, labels='pair')
  want = pair_loss(cross_entropy, outputs(LOGITS), PAIR, ALL, CONTEXT, True)
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_an_unmixed_batch_keeps_its_mask():
  """Where no view is mixed nothing is compared with lam, and no row leaves."""
  got = pair_loss(cross_entropy, outputs(LOGITS), PAIR, ALL, CONTEXT, False, labels='unmixed')
  np.testing.assert_allclose(got, (2 * L0 + L1) / 3, rtol=1e-5)
