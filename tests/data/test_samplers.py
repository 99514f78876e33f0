"""Which images are drawn: Eq. 2 by its constants, frequencies, and the plan of an epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.counts import class_counts
from fass_jax.sampling import named, samplers
from fass_jax.types import Time

N = 10847
LONG_TAIL = class_counts(500, 100, 100)  # CIFAR-100-LT, imbalance factor 100
NOW = Time(jnp.int32(0), jnp.int32(0), jnp.float32(0))


def classes_of(counts, seed=0):
  """A class index over shuffled labels with these counts, and the labels."""
  labels = np.repeat(np.arange(len(counts)), counts)
  labels = np.random.default_rng(seed).permutation(labels)
  return samplers.index_classes(labels, len(counts)), labels


@pytest.fixture(scope='module')
def long_tail():
  return classes_of(LONG_TAIL)


def chi_square(observed, expected):
  """The statistic in standard deviations above its mean."""
  expected = np.asarray(expected, np.float64)
  free = len(expected) - 1
  return (np.sum((observed - expected) ** 2 / expected) - free) / np.sqrt(2 * free)


# the class index


def test_index_classes_by_hand():
  got = samplers.index_classes(np.array([2, 0, 2, 1, 0, 2]), 4)
  np.testing.assert_array_equal(got.count, [2, 1, 3, 0])
  np.testing.assert_array_equal(got.start, [0, 2, 3, 6])
  np.testing.assert_array_equal(got.order, [1, 4, 3, 0, 2, 5])
  assert all(x.dtype == jnp.int32 for x in got[:3]) and got.neighbours is None


def test_index_classes_holds_every_image_once(long_tail):
  classes, labels = long_tail
  assert len(labels) == N
  np.testing.assert_array_equal(np.sort(classes.order), np.arange(N))
  np.testing.assert_array_equal(classes.count, LONG_TAIL)
  for c in (0, 41, 99):
    own = np.asarray(classes.order)[int(classes.start[c]) :][: int(classes.count[c])]
    np.testing.assert_array_equal(own, np.flatnonzero(labels == c))


# Eq. 2


def test_effective_number_constants():
  beta = (N - 1) / N
  got = samplers.effective_number(jnp.array([10, 1000]), beta)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got[0], 9.9959, rtol=0, atol=1e-4)
  np.testing.assert_allclose(got[1], 955.33, rtol=0, atol=1e-2)


@pytest.mark.parametrize('beta', [0.5, 0.99, (N - 1) / N, 1 - 1e-7])
def test_effective_number_against_double_precision(beta):
  n = np.arange(0, 5001, 50)
  got = samplers.effective_number(jnp.asarray(n), beta)
  # 1 - beta^n loses what beta is short of 1, expm1 and log1p keep it
  gap = 1 - np.longdouble(beta)
  want = -np.expm1(n * np.log1p(-gap)) / gap
  np.testing.assert_allclose(got, want.astype(float), rtol=3e-6)


def test_effective_number_laws():
  got = np.asarray(samplers.effective_number(jnp.array([0, 1, 2, 10**7]), 0.99))
  np.testing.assert_allclose(got, [0, 1, 1.99, 100], rtol=1e-6)
  # beta = 0: any image beyond the first is the same again
  np.testing.assert_allclose(samplers.effective_number(jnp.array([1, 7]), 0.0), [1, 1])


def test_weights_of_the_two_units(long_tail):
  classes, _ = long_tail
  sample = np.asarray(samplers.rebalanced_weight(classes, 'sample'), np.float64)
  sample /= sample.sum()
  np.testing.assert_allclose(sample[0], 0.01018, rtol=0, atol=5e-6)
  np.testing.assert_allclose(sample[99], 0.00995, rtol=0, atol=5e-6)
  # the class's images times the image's weight, by the formula
  beta = (N - 1) / N
  effective = (1 - beta**LONG_TAIL) / (1 - beta)
  want = LONG_TAIL / effective
  np.testing.assert_allclose(sample, want / want.sum(), rtol=1e-5)
  by_class = np.asarray(samplers.rebalanced_weight(classes, 'class'), np.float64)
  np.testing.assert_allclose(by_class[99] / by_class[0], 97.8, rtol=0, atol=0.05)
  np.testing.assert_allclose(by_class, 1 / effective, rtol=1e-5)


def test_weights_of_cifar10():
  classes, _ = classes_of(class_counts(5000, 10, 100))
  sample = np.asarray(samplers.rebalanced_weight(classes, 'sample'), np.float64)
  sample /= sample.sum()
  np.testing.assert_allclose(sample[[0, 9]], [0.1155, 0.0952], rtol=0, atol=5e-5)
  by_class = np.asarray(samplers.rebalanced_weight(classes, 'class'), np.float64)
  np.testing.assert_allclose(by_class[9] / by_class[0], 82.5, rtol=0, atol=0.05)


def test_the_beta_of_class_balanced_resampling():
  """n / E(n) with E(n) = (1 - .9999^n) / .0001, in float64 by hand."""
  classes, _ = classes_of([500, 5])
  expected = [n * 1e-4 / (1 - 0.9999**n) for n in (500, 5)]
  np.testing.assert_allclose(
    samplers.rebalanced_weight(classes, 'sample', 0.9999), expected, rtol=1e-4
  )
  assert expected[0] == pytest.approx(1.02516, abs=1e-5)  # 2.5 % from class-uniform


# draws


@pytest.mark.parametrize(
  ('name', 'unit'),
  [('effective_number', 'sample'), ('effective_number_class', 'class'), ('class_balanced', '')],
)
def test_draw_frequencies(long_tail, name, unit):
  classes, labels = long_tail
  sampler = named.SAMPLERS[name].build(named.Options())
  assert sampler.scope == 'step'
  n = 200_000
  index = np.asarray(sampler.draw(jax.random.key(7), classes, n, NOW))
  assert index.shape == (n,) and index.dtype == np.int32
  weight = np.ones(100)
  if unit:
    weight = np.asarray(samplers.rebalanced_weight(classes, unit), np.float64)
  share = weight / weight.sum()
  observed = np.bincount(labels[index], minlength=100)
  assert observed.sum() == n
  assert abs(chi_square(observed, n * share)) < 5
  # another weighting would not pass
  assert chi_square(observed, n * LONG_TAIL / N) > 100
  # inside a class every image alike
  for c in (60, 99):
    inside = np.bincount(index, minlength=N)[labels == c]
    assert abs(chi_square(inside, np.full(len(inside), inside.mean()))) < 5


def test_draw_by_weight_skips_empty_and_weightless_classes():
  classes, labels = classes_of([3, 0, 5, 2, 0])
  weight = jnp.array([1.0, 9.0, 3.0, 0.0, 9.0])  # class 3 has no weight, 1 and 4 no image
  index = np.asarray(samplers.draw_by_weight(jax.random.key(0), classes, weight, 40_000))
  observed = np.bincount(labels[index], minlength=5)
  np.testing.assert_array_equal(observed[[1, 3, 4]], [0, 0, 0])
  assert abs(observed[0] - 10_000) < 5 * np.sqrt(40_000 * 0.25 * 0.75)


def test_draws_depend_on_the_key_alone(long_tail):
  classes, _ = long_tail
  draw = named.SAMPLERS['effective_number'].build(named.Options()).draw
  a, same, other = (draw(jax.random.key(k), classes, 64, NOW) for k in (0, 0, 1))
  np.testing.assert_array_equal(a, same)
  assert (np.asarray(a) != np.asarray(other)).sum() > 50


def test_draw_from_classes():
  counts = [7, 1, 4]
  classes, labels = classes_of(counts)
  asked = np.tile([0, 1, 2], 8000)
  index = np.asarray(samplers.draw_from_classes(jax.random.key(1), classes, jnp.asarray(asked)))
  np.testing.assert_array_equal(labels[index], asked)
  drawn = np.bincount(index, minlength=12)
  for c in (0, 2):
    inside = drawn[labels == c]
    assert abs(chi_square(inside, np.full(counts[c], 8000 / counts[c]))) < 5


# the plan of an epoch


def plan(total, n, epoch, seed=0):
  classes = samplers.index_classes(np.zeros(total, np.int64), 1)
  steps = -(-total // n)
  index, mask = samplers.permutation_plan(jax.random.key(seed), classes, jnp.int32(epoch), steps, n)
  assert index.shape == mask.shape == (steps, n)
  assert index.dtype == jnp.int32 and mask.dtype == bool
  return np.asarray(index), np.asarray(mask)


@pytest.mark.parametrize(('total', 'n'), [(383, 64), (12, 4), (9, 9), (5, 4), (7, 1)])
def test_plan_shows_every_image_once(total, n):
  index, mask = plan(total, n, 3)
  np.testing.assert_array_equal(np.sort(index[mask]), np.arange(total))
  # only the end of the last batch is filled
  assert (~mask).sum() == -total % n
  np.testing.assert_array_equal(mask.reshape(-1), np.arange(mask.size) < total)


def test_fillers_are_the_head_of_the_next_epoch():
  now, mask = plan(383, 64, 4)
  then, _ = plan(383, 64, 5)
  assert (~mask).sum() == 1
  np.testing.assert_array_equal(now[~mask], then.reshape(-1)[:1])
  now, mask = plan(29, 10, 0)
  assert (~mask).sum() == 1
  now, mask = plan(21, 10, 0)
  then, _ = plan(21, 10, 1)
  assert (~mask).sum() == 9
  np.testing.assert_array_equal(now[~mask], then.reshape(-1)[:9])


def test_another_epoch_or_key_is_another_order():
  first, again = plan(383, 64, 0)[0], plan(383, 64, 0)[0]
  np.testing.assert_array_equal(first, again)
  for other in (plan(383, 64, 1)[0], plan(383, 64, 0, seed=1)[0]):
    assert (first != other).mean() > 0.9
  assert (first.reshape(-1)[:383] != np.arange(383)).mean() > 0.9


def test_dropped_last_batch():
  classes = samplers.index_classes(np.zeros(10, np.int64), 1)
  index, mask = samplers.permutation_plan(jax.random.key(0), classes, jnp.int32(0), 2, 4)
  assert np.asarray(mask).all()
  assert len(set(np.asarray(index).reshape(-1).tolist())) == 8


def test_scopes():
  scopes = {name: kind.build(named.Options()).scope for name, kind in named.SAMPLERS.items()}
  assert scopes['permutation'] == 'epoch' and scopes['natural'] == 'copy'
  assert named.SAMPLERS['natural'].build(named.Options()).draw is None
  assert named.SAMPLERS['permutation'].build(named.Options()).draw is samplers.permutation_plan


def test_a_batch_larger_than_the_set_shows_it_once():
  classes = samplers.index_classes(np.array([0, 0, 1]), 2)
  index, mask = samplers.permutation_plan(jax.random.key(0), classes, jnp.asarray(2), 1, 8)
  assert index.shape == mask.shape == (1, 8)
  np.testing.assert_array_equal(mask[0], [True] * 3 + [False] * 5)
  np.testing.assert_array_equal(np.sort(index[0, :3]), [0, 1, 2])
  # the fillers are the next epochs' permutations
  then, _ = samplers.permutation_plan(jax.random.key(0), classes, jnp.asarray(3), 1, 3)
  np.testing.assert_array_equal(index[0, 3:6], then[0])
