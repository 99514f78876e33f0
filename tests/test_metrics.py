"""Metrics on a hand-made confusion matrix, against scikit-learn and NumPy; the pass over a set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from fass_jax import nets
from fass_jax.config.deltas import base_config
from fass_jax.counts import class_counts
from fass_jax.data.load import load
from fass_jax.engine.passes import make_fold, make_probe
from fass_jax.engine.views import Store
from fass_jax.recipe import build
from fass_jax.report.metrics import (
  Counts,
  confusion_norm,
  count,
  group_means,
  init_counts,
  metrics,
  mixing_diagnostics,
  shot_edges,
  shot_groups,
  worst_ratio,
)
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Dataset, Outputs
from tests import runs

# recalls .8, .5, 0 and 1
CONFUSION = np.array([[8, 1, 0, 1], [2, 5, 3, 0], [1, 3, 0, 0], [0, 0, 0, 2]])
TRAIN = np.array([500, 100, 20, 5])  # one many-shot, two medium-shot, one few-shot class
jit_count = jax.jit(count)


def host(confusion=CONFUSION, nll=13.0, bins=None):
  bins = np.zeros((15, 3)) if bins is None else np.asarray(bins)
  return Counts(np.asarray(confusion), np.float32(nll), bins)


def random_batch(seed, n=200, c=5):
  rng = np.random.default_rng(seed)
  return rng.normal(0, 2, (n, c)).astype(np.float32), rng.integers(0, c, n).astype(np.int32)


# metrics


def test_the_norm_of_the_confusion_is_that_of_its_shares():
  share = (CONFUSION / CONFUSION.sum(1, keepdims=True)).T
  np.fill_diagonal(share, 0)
  np.testing.assert_allclose(confusion_norm(CONFUSION), np.linalg.norm(share, 2), rtol=1e-10)
  assert metrics(host(), shot_groups(TRAIN))['confusion_norm'] == confusion_norm(CONFUSION)
  # row predicted, column true: both classes go to class 0, a third and a half of each
  by_hand = np.array([[4, 0, 0], [1, 2, 0], [3, 0, 3]])
  np.testing.assert_allclose(confusion_norm(by_hand), np.hypot(1 / 3, 1 / 2), rtol=1e-12)


@pytest.mark.parametrize('seed', range(3))
def test_the_norm_of_a_confusion_of_many_classes(seed):
  n = np.random.default_rng(seed).poisson(0.2, (60, 60))
  n[3] = 0  # a class that is not tested
  share = (n / np.maximum(n.sum(1, keepdims=True), 1)).T * (1 - np.eye(60))
  np.testing.assert_allclose(confusion_norm(n), np.linalg.norm(share, 2), rtol=1e-8)


@pytest.mark.parametrize(
  'confusion, norm',
  [
    (np.eye(5), 0.0),  # without errors
    (np.zeros((4, 4)), 0.0),
    ([[0, 3], [2, 0]], 1.0),  # two equal singular values
    (np.roll(np.eye(10), 1, 0), 1.0),
    ([[1, 0], [3, 0]], 1.0),
  ],
)
def test_the_norm_at_its_edges(confusion, norm):
  assert confusion_norm(np.asarray(confusion)) == pytest.approx(norm, abs=1e-12)


def test_the_worst_ratio_by_hand():
  test, train = ({'worst_class': value} for value in (0.3, 0.6))
  assert worst_ratio(test, train) == pytest.approx(0.5)
  assert worst_ratio({'worst_class': 0.0}, train) == 0.0
  assert np.isnan(worst_ratio(test, {'worst_class': 0.0}))


def test_metrics_by_hand():
  got = metrics(host(), shot_groups(TRAIN))
  want = {
    'top1': 15 / 26,
    'many': 0.8,
    'medium': 0.25,
    'few': 1.0,
    'worst_class': 0.0,
    'worst_tenth': 0.0,
    'balanced_error': 1 - 2.3 / 4,
    'nll': 0.5,
    # 2 tp / (row + column): 16/21, 10/19, 0/7, 4/5
    'macro_f1': (16 / 21 + 10 / 19 + 0 + 0.8) / 4,
    'ece_15': 0.0,
  }
  assert got.keys() == {*want, 'per_class', 'confusion_norm'}
  for key, value in want.items():
    np.testing.assert_allclose(got[key], value, rtol=1e-6, err_msg=key)
  np.testing.assert_allclose(got['per_class'], [0.8, 0.5, 0, 1])


def test_metrics_against_scikit_learn():
  cells = [(t, p) for t in range(4) for p in range(4) for _ in range(CONFUSION[t, p])]
  true, pred = zip(*cells)
  got = metrics(host(), shot_groups(TRAIN))
  np.testing.assert_allclose(got['macro_f1'], f1_score(true, pred, average='macro'), rtol=1e-12)
  np.testing.assert_allclose(
    1 - got['balanced_error'], balanced_accuracy_score(true, pred), rtol=1e-12
  )
  np.testing.assert_allclose(got['top1'], np.mean(np.equal(true, pred)), rtol=1e-12)


def test_an_untested_class_is_left_out():
  # class 2 has no test image but takes one prediction, class 3 has neither
  confusion = [[3, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
  got = metrics(host(confusion), shot_groups(TRAIN))
  np.testing.assert_allclose(got['per_class'], [0.75, 0.5, np.nan, np.nan])
  np.testing.assert_allclose(got['balanced_error'], 1 - 0.625)
  np.testing.assert_allclose(got['worst_class'], 0.5)
  np.testing.assert_allclose(got['medium'], 0.5)  # class 1 alone
  assert np.isnan(got['few'])
  # class 2 counts with F1 0, class 3 does not count, as in scikit-learn
  true, pred = [0, 0, 0, 0, 1, 1], [0, 0, 0, 2, 0, 1]
  np.testing.assert_allclose(
    got['macro_f1'], f1_score(true, pred, average='macro', zero_division=0), rtol=1e-12
  )


def test_empty_groups_are_nan():
  got = metrics(host(), shot_groups(np.array([500, 400, 300, 200])))
  assert np.isnan(got['medium']) and np.isnan(got['few'])
  np.testing.assert_allclose(got['many'], 2.3 / 4)
  means = group_means(np.array([0.5, np.nan]), {'a': np.array([False, True])})
  assert np.isnan(means['a'])


@pytest.mark.parametrize(('classes', 'worst'), [(10, 1), (11, 2), (20, 2), (100, 10)])
def test_worst_tenth(classes, worst):
  hits = np.random.default_rng(0).permutation(classes)
  confusion = np.diag(hits)
  confusion[:, 0] += 200 - hits  # every class has 200 images, misses go to class 0
  confusion[0] = 0
  confusion[0, :2] = [hits[0], 200 - hits[0]]
  got = metrics(host(confusion), shot_groups(np.full(classes, 50)))
  np.testing.assert_allclose(got['worst_class'], 0)
  np.testing.assert_allclose(got['worst_tenth'], np.arange(worst).mean() / 200)


def test_shot_groups_of_small_sets_are_thirds():
  counts = np.array([3, 50, 30, 20, 10, 5, 40, 4, 25, 8])
  many, few = shot_edges(counts, 100, 20)
  groups = shot_groups(counts, many, few)
  assert sorted(counts[groups['many']]) == [30, 40, 50] and sorted(counts[groups['few']]) == [
    3,
    4,
    5,
  ]
  assert (many, few) == (25, 8)
  # every group has a class: the edges of the field stay
  assert shot_edges(np.array([500, 60, 5]), 100, 20) == (100, 20)
  # nothing can be told apart
  assert shot_groups(np.full(4, 7), *shot_edges(np.full(4, 7), 100, 20))['medium'].all()


@pytest.mark.parametrize(
  ('classes', 'largest', 'want'), [(100, 500, [35, 35, 30]), (10, 5000, [8, 2, 0])]
)
def test_shot_groups_of_cifar_at_a_factor_of_100(classes, largest, want):
  groups = shot_groups(class_counts(largest, classes, 100.0))
  assert [int(groups[g].sum()) for g in ('many', 'medium', 'few')] == want


def test_shot_groups_at_their_edges():
  groups = shot_groups(np.array([500, 101, 100, 99, 20, 19, 1]))
  np.testing.assert_array_equal(np.flatnonzero(groups['many']), [0, 1])
  np.testing.assert_array_equal(np.flatnonzero(groups['medium']), [2, 3, 4])
  np.testing.assert_array_equal(np.flatnonzero(groups['few']), [5, 6])
  other = shot_groups(np.array([50, 30, 5]), many=40, few=10)
  assert [g.tolist() for g in other.values()] == [
    [True, False, False], [False, True, False], [False, False, True],
  ]  # fmt: skip


# counts


def test_counts_by_hand():
  logits = np.log([[0.7, 0.3], [0.4, 0.6], [0.05, 0.95]]).astype(np.float32)
  got = count(init_counts(2, 4), logits, jnp.array([0, 0, 1]), jnp.ones(3, bool))
  np.testing.assert_array_equal(got.confusion, [[1, 1], [0, 1]])
  np.testing.assert_allclose(got.nll, -np.log(0.7 * 0.4 * 0.95), rtol=1e-5)
  # bins (0, 1/4], .. (3/4, 1]: .7 and .6 in the third, .95 in the fourth
  np.testing.assert_allclose(
    got.bins, [[0, 0, 0], [0, 0, 0], [2, 1.3, 1], [1, 0.95, 1]], rtol=0, atol=1e-6
  )
  row = metrics(Counts(*(np.asarray(x) for x in got)), shot_groups(np.array([9, 9])))
  np.testing.assert_allclose(row['ece_4'], (abs(1.3 - 1) + abs(0.95 - 1)) / 3, rtol=1e-5)


def test_counts_add_up_over_batches_and_leave_fillers_out():
  logits, labels = random_batch(0)
  whole = jit_count(init_counts(5, 15), logits, labels, jnp.ones(200, bool))
  parts = init_counts(5, 15)
  for start in range(0, 200, 40):
    # each batch of 50 ends with ten fillers, which are other images again
    rows = (start + np.arange(50)) % 200
    parts = jit_count(parts, logits[rows], labels[rows], np.arange(50) < 40)
  np.testing.assert_array_equal(parts.confusion, whole.confusion)
  assert parts.confusion.dtype == jnp.int32 and parts.confusion.sum() == 200
  np.testing.assert_allclose(parts.nll, whole.nll, rtol=1e-5)
  np.testing.assert_allclose(parts.bins, whole.bins, rtol=1e-4, atol=1e-5)


def test_a_filler_may_hold_anything():
  logits = np.array([[2.0, 0.0], [np.nan, np.inf]], np.float32)
  got = count(init_counts(2, 15), logits, jnp.array([0, 1]), jnp.array([True, False]))
  np.testing.assert_array_equal(got.confusion, [[1, 0], [0, 0]])
  np.testing.assert_allclose(got.nll, 0.126928, rtol=1e-5)


@pytest.mark.parametrize('seed', [1, 2])
def test_nll_and_ece_against_numpy(seed):
  logits, labels = random_batch(seed, 1000)
  got = jit_count(init_counts(5, 15), logits, labels, jnp.ones(1000, bool))
  row = metrics(Counts(*(np.asarray(x) for x in got)), shot_groups(np.full(5, 50)))
  z = np.float64(logits)
  p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
  true = p[np.arange(1000), labels]
  np.testing.assert_allclose(row['nll'], -np.log(true).mean(), rtol=1e-5)
  confidence, hit = p.max(-1), p.argmax(-1) == labels
  ece = 0.0
  for b in range(15):
    inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
    if inside.any():
      ece += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
  assert ece > 0.05  # random labels: the network is far too sure
  np.testing.assert_allclose(row['ece_15'], ece, rtol=1e-4)
  np.testing.assert_allclose(row['top1'], hit.mean(), rtol=1e-6)


def test_certain_predictions_fall_into_the_last_bin():
  logits = jnp.array([[100.0, 0.0], [0.0, 100.0]])
  got = count(init_counts(2, 15), logits, jnp.array([0, 0]), jnp.ones(2, bool))
  np.testing.assert_array_equal(got.bins[14], [2, 2, 1])
  np.testing.assert_array_equal(got.bins[:14], np.zeros((14, 3)))


# what an epoch mixed


def test_mixing_diagnostics_by_hand():
  groups = shot_groups(TRAIN)
  tally = {
    'mixup': {
      'drawn': np.array([10.0, 4.0, 6.0, 0.0]),
      'lam': np.array([9.0, 2.0, 3.0, 0.0]),
      'half': np.array([0.0, 1.0, 4.0, 0.0]),
      'area': np.array([1.0, 2.0, 3.0, 0.0]),
    }
  }
  got = mixing_diagnostics(tally, groups)
  assert got.keys() == {'mixup'}
  row = got['mixup']
  want = {
    'drawn': 20.0,
    'lam_below_half_all': 5 / 20, 'lam_all': 14 / 20, 'area_all': 6 / 20,
    'lam_below_half_many': 0.0, 'lam_many': 0.9, 'area_many': 0.1,
    # classes 1 and 2 together, weighted by how often they were drawn
    'lam_below_half_medium': 0.5, 'lam_medium': 0.5, 'area_medium': 0.5,
    'lam_below_half_few': np.nan, 'lam_few': np.nan, 'area_few': np.nan,
  }  # fmt: skip
  assert row.keys() == want.keys()
  for key, value in want.items():
    np.testing.assert_allclose(row[key], value, err_msg=key)


def test_mixing_diagnostics_of_an_idle_view():
  zeros = {k: np.zeros(4) for k in ('drawn', 'lam', 'half', 'area')}
  row = mixing_diagnostics({'cutmix': zeros}, shot_groups(TRAIN))['cutmix']
  assert row.pop('drawn') == 0
  assert np.isnan(list(row.values())).all()


# a pass over a set

SIZE = 11


def tiny():
  """A recipe on eleven 8x8 images, each of one grey level: its position in the set."""
  images = np.arange(SIZE, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
  labels = (np.arange(SIZE) % 3).astype(np.int32)
  data = Dataset('tiny', images, labels, np.arange(SIZE), images, labels, ('a', 'b', 'c'))
  config = base_config('digits_lt')
  config.batch_size, config.net.depth = 4, 8
  config.data.mean, config.data.std = (0.0,) * 3, (1.0,) * 3
  return build.build(config, data), jnp.asarray(images), jnp.asarray(labels)


def grey_level(variables, x, train):
  """A backbone that reads an image's position from its pixels."""
  assert not train
  return x.mean((1, 2, 3))[:, None] * 255.0, {}


def repeated(variables, features, train):
  """A head whose three logits are all that position."""
  return Outputs(jnp.repeat(features[:, :, None], 3, axis=2), features), variables['batch_stats']


@pytest.mark.parametrize('batch_size', [1, 3, 4, SIZE, 1000])
def test_fold_sees_every_image_once(batch_size):
  built, images, labels = tiny()
  fake = built._replace(net=nets.Network(None, grey_level, repeated))
  batches = []

  def observe(acc, logits, labels, mask):
    batches.append(logits.shape)
    place = jnp.round(logits[:, 0]).astype(jnp.int32)
    seen, total = acc
    return seen.at[place].add(mask.astype(jnp.int32)), total + jnp.where(mask, labels, 0).sum()

  fold = make_fold(fake, batch_size)
  seen, total = fold(observe, (jnp.zeros(SIZE, jnp.int32), jnp.int32(0)), {}, images, labels)
  np.testing.assert_array_equal(seen, np.ones(SIZE))
  assert total == labels.sum()
  assert batches == [(min(batch_size, SIZE), 3)]  # one program, whatever the number of batches


def test_fold_of_a_network_is_blind_to_the_batch_size(monkeypatch):
  runs.use_tiny_net(monkeypatch)
  built, images, labels = tiny()
  variables = built.net.init(jax.random.key(0), (8, 8, 3))

  empty = init_counts(3, 15)
  small, large = (make_fold(built, b)(count, empty, variables, images, labels) for b in (4, SIZE))
  np.testing.assert_array_equal(small.confusion, large.confusion)
  np.testing.assert_allclose(small.nll, large.nll, rtol=1e-5)
  assert small.confusion.sum() == SIZE


def test_a_probe_of_one_op_leaves_the_ops_of_other_signals_off(monkeypatch):
  """At strength 0 the images come unchanged, though DODA's op would flip them at its default."""
  runs.compile_quickly(monkeypatch, 0)
  config = runs.config_of('--config=digits_lt.py:cuda+doda', '--config.augment.cutout=False')
  config.data.augment = ()
  data = load(config)
  built = build.build(config, data)
  every = built.normalise(jnp.asarray(data.train_images)).reshape(len(data.train_labels), -1)
  labels = jnp.asarray(data.train_labels, jnp.int32)

  def known(variables, features, train):
    """Names the class of the training image that these pixels are; class 99 if of none."""
    same = jnp.abs(features[:, None] - every[None]).max(-1) < 1e-3  # programs round differently
    found = jnp.where(same.any(1), labels[same.argmax(1)], 99)
    return Outputs(jax.nn.one_hot(found, 100)[:, None], features), variables['batch_stats']

  fake = built._replace(net=nets.Network(None, lambda v, x, t: (x.reshape(len(x), -1), {}), known))
  store = Store(jnp.asarray(data.train_images), labels, index_classes(data.train_labels, 10))
  probe = make_probe(fake, 16)
  index = np.arange(0, 380, 20)
  assert probe(jax.random.key(0), index, 'cuda', np.zeros(19), {}, store).all()
  assert not probe(jax.random.key(0), index, 'doda', np.full(19, 1.0), {}, store).all()
