"""Losses as the step calls them: parts, reweighting over time, several views."""

import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import build, combine
from fass_jax.losses.contrastive import balanced_contrastive
from fass_jax.losses.experts import ride
from fass_jax.losses.kinds import needs_embedding
from fass_jax.losses.margins import ldam
from fass_jax.losses.weights import effective_number_weights
from fass_jax.recipe.optimiser import piecewise
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Context, Outputs, Targets, Time
from tests.by_hand import examples
from tests.losses import oracle

(cross_entropy,) = build.LOSSES['ce'].build()
CLASSES = index_classes(np.repeat(np.arange(4), [40, 20, 10, 5]), 4)
DRW = piecewise(((0, 0.0), (0.8, 1.0)), 200)


def at(epoch):
  return Time(jnp.int32(0), jnp.int32(epoch), jnp.float32(epoch / 200))


def outputs(seed=0, b=6, e=3, extra=None):
  rng = np.random.default_rng(seed)
  z = jnp.asarray(rng.normal(0, 3, (b, e, 4)), jnp.float32)
  extra = dict(extra or {})
  outs = Outputs(z, jnp.zeros((b, 1)), extra.pop('embedding', None), extra)
  return outs, jnp.asarray(rng.integers(0, 4, b), jnp.int32)


def weights(counts):
  return effective_number_weights(counts, 0.9999)


@pytest.mark.parametrize(
  'name, params',
  [
    ('ce', {}),
    ('ldam', {'scale': 30.0, 'max_margin': 0.5}),
    ('balanced_softmax', {}),
    ('logit_adjustment', {'tau': 1.0}),
    ('weighted_la', {'tau': 1.0}),
    ('two_rate', {'tau1': 0.5, 'tau2': 1.0}),
    ('la_adaptive', {'factor': 1.0}),
    ('equalised', {'share': 0.9, 'below': 0.2}),
    ('label_smoothing', {'smoothing': 0.1}),
    ('cdt', {'gamma': 0.2}),
    ('focal', {'gamma': 1.0}),
    ('sigmoid', {}),
    ('focal_sigmoid', {'gamma': 1.0, 'alpha': 0.25}),
    ('ride', {'scale': 30.0, 'max_margin': 0.5, 'gamma': -0.45, 'factor': 0.05, 'late': DRW}),
  ],
)
def test_every_loss_of_logits_has_a_value_and_a_weight_a_sample(name, params):
  outs, labels = outputs()
  for part in build.LOSSES[name].build(**params):
    values, w = part(outs, examples(labels), Context(CLASSES, {}, at(0)))
    assert values.shape == w.shape == (6,) and values.dtype == w.dtype == jnp.float32
    assert (w == 1).all() and np.isfinite(values).all()


def test_what_sees_its_views_as_one_batch_and_what_needs_an_embedding():
  assert {n for n, k in build.LOSSES.items() if k.joint} == {'balanced_contrastive', 'range', 'bbn'}
  assert {n for n, k in build.LOSSES.items() if needs_embedding in k.refuses} == {
    'balanced_contrastive',
    'rectified_la',
  }


def test_ldam_reads_the_counts_of_the_data_set_and_the_mean_of_the_experts():
  outs, labels = outputs()
  (loss,) = build.LOSSES['ldam'].build(scale=30.0, max_margin=0.5)
  want = ldam(outs.logits.mean(1), labels, jnp.array([40, 20, 10, 5]), 30.0, 0.5)
  np.testing.assert_allclose(
    loss(outs, examples(labels), Context(CLASSES, {}, at(0)))[0], want, rtol=1e-6
  )


def test_deferred_reweighting():
  outs, labels = outputs()
  loss = build.reweight(cross_entropy, weights, DRW)
  plain, ones = cross_entropy(outs, examples(labels), Context(CLASSES, {}, at(0)))
  for epoch, want in ((159, ones), (160, weights(CLASSES.count)[labels])):
    values, w = loss(outs, examples(labels), Context(CLASSES, {}, at(epoch)))
    np.testing.assert_array_equal(values, plain)
    np.testing.assert_array_equal(w, want)


def test_reweighted_pairs_are_two_weighted_means():
  # CMO with DRW: lam l_a w_a / sum(w_a) + (1 - lam) l_b w_b / sum(w_b), PyTorch's twice
  outs, a = outputs()
  b, lam, w = jnp.roll(a, 1), jnp.full(6, 0.3), np.float64(weights(CLASSES.count))
  loss = build.reweight(cross_entropy, weights, DRW)
  got = combine.pair_loss(
    loss, outs, Targets(a, b, lam), jnp.ones(6), Context(CLASSES, {}, at(170)), True
  )
  z = np.float64(outs.logits).mean(1)
  want = sum(
    share * (w[y] * oracle.ce(z, y)).sum() / w[y].sum()
    for share, y in ((0.3, np.asarray(a)), (0.7, np.asarray(b)))
  )
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_weights_of_values_with_an_expert_axis():
  def each(outs, examples, context):
    return outs.logits[:, :, 0], jnp.ones((6, 3))

  outs, labels = outputs()
  _, w = build.reweight(each, weights, DRW)(outs, examples(labels), Context(CLASSES, {}, at(170)))
  np.testing.assert_allclose(w, np.repeat(weights(CLASSES.count)[labels][:, None], 3, 1), rtol=0)


@pytest.mark.parametrize('epoch', [159, 160])
def test_ride_weighs_its_margins_and_not_its_diversity(epoch):
  outs, labels = outputs()
  first, second = build.LOSSES['ride'].build(30.0, 0.5, -0.45, 0.05, DRW)
  context, late = Context(CLASSES, {}, at(epoch)), epoch >= 160
  got = sum(
    combine.weighted_mean(*part(outs, examples(labels), context))
    for part in (build.reweight(first, weights, DRW), second)
  )
  one, two = ride(outs.logits, labels, CLASSES.count, 30.0, 0.5, -0.45, 0.05, late)
  w = weights(CLASSES.count)[labels] if late else jnp.ones(6)
  np.testing.assert_allclose(got, (w * one).sum() / w.sum() + two.mean(), rtol=1e-5)


def test_contrastive_reads_the_extra_outputs():
  rng = np.random.default_rng(0)
  z, p = (jnp.asarray(oracle.unit_rows(rng, n, 8)) for n in (6, 4))
  (loss,) = build.LOSSES['balanced_contrastive'].build(temperature=0.1)
  outs, labels = outputs(extra={'embedding': 3.0 * z, 'prototypes': 0.5 * p})  # of any length
  values, w = loss(outs, examples(labels), Context(CLASSES, {}, at(0)))
  np.testing.assert_allclose(values, balanced_contrastive(z, labels, p, 0.1), rtol=1e-6)
  assert (w == 1).all()
  mask = jnp.arange(6) < 4
  values, w = loss(outs, examples(labels, mask), Context(CLASSES, {}, at(0)))
  np.testing.assert_allclose(values, balanced_contrastive(z, labels, p, 0.1, mask), rtol=1e-6)
  np.testing.assert_array_equal(w, mask)
