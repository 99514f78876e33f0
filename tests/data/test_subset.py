"""The subset rule: hand-worked counts, published totals and the order of the kept images."""

import numpy as np
import pytest

from fass_jax.counts import class_counts
from fass_jax.data.sets.subset import long_tail_indices
from fass_jax.types import UserError

TOTALS = [
  (10, 10, 20431), (10, 50, 13996), (10, 100, 12406), (10, 200, 11203),
  (100, 10, 19573), (100, 50, 12608), (100, 100, 10847), (100, 200, 9502),
]  # fmt: skip
# Rank inside its class of the first eight kept images of classes 0, 1, 2.
RANKS = {
  100: [
    [90, 254, 283, 445, 461, 15, 316, 489],
    [277, 307, 436, 88, 261, 57, 413, 459],
    [52, 34, 347, 492, 196, 233, 487, 246],
  ],
  10: [
    [398, 3833, 4836, 4572, 636, 2545, 1161, 2230],
    [597, 332, 521, 3935, 4800, 1102, 4304, 1826],
    [3488, 1136, 3494, 2945, 4518, 4011, 1334, 2833],
  ],
}


@pytest.mark.parametrize(('classes', 'factor', 'total'), TOTALS)
def test_published_totals(classes, factor, total):
  counts = class_counts(50000 / classes, classes, factor)
  assert counts.dtype == np.int64
  assert counts.sum() == total
  # The exp(-ln) form would end with one image less at factor 10 and 100.
  assert counts[-1] == 50000 // classes // factor or factor == 200


def test_counts_of_cifar10():
  assert class_counts(5000, 10, 10).tolist() == [
    5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500,
  ]  # fmt: skip
  assert class_counts(5000, 10, 100).tolist() == [
    5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50,
  ]  # fmt: skip


def test_step_and_balanced():
  assert class_counts(100, 5, 8, 'step').tolist() == [100, 100, 12, 12, 12]
  assert class_counts(100, 3, 8, 'balanced').tolist() == [100, 100, 100]
  assert class_counts(7, 1, 2).tolist() == [7]


@pytest.mark.parametrize('factor', [0.5, 0, -3, float('nan')])
def test_factor_below_one(factor):
  with pytest.raises(UserError, match='1 or more'):
    class_counts(10, 2, factor)


def test_unknown_profile_names_the_known():
  with pytest.raises(UserError, match='exp, step, balanced'):
    class_counts(10, 2, 2, 'linear')


def test_empty_class():
  with pytest.raises(UserError, match='class 1 would have none'):
    class_counts(10, 2, 20)


@pytest.mark.parametrize('classes', [10, 100])
def test_fingerprints(classes):
  # Class c sits at c, c + C, c + 2C, ..., so position // C is the rank inside the class.
  labels = np.arange(50000) % classes
  counts = class_counts(50000 // classes, classes, 100)
  index = long_tail_indices(labels, counts)
  assert index.dtype == np.int32
  start = np.concatenate([[0], np.cumsum(counts)])
  for c, ranks in enumerate(RANKS[classes]):
    kept = index[start[c] : start[c] + 8]
    assert (kept % classes == c).all()
    assert (kept // classes).tolist() == ranks


def test_grouped_by_class_and_nested():
  labels = np.random.RandomState(5).permutation(np.repeat(np.arange(4), 30))
  large = long_tail_indices(labels, class_counts(30, 4, 2), seed=3)
  small = long_tail_indices(labels, class_counts(30, 4, 10), seed=3)
  assert (np.diff(labels[large]) >= 0).all()
  assert np.bincount(labels[small]).tolist() == [30, 13, 6, 3]
  assert set(small) < set(large)
  assert len(set(large)) == len(large)
  assert not np.array_equal(small, long_tail_indices(labels, class_counts(30, 4, 10), seed=4))


def test_global_stream_is_left_alone():
  np.random.seed(11)
  want = np.random.rand()
  np.random.seed(11)
  long_tail_indices(np.arange(20) % 2, np.array([10, 2]))
  assert np.random.rand() == want


def test_too_few_images():
  with pytest.raises(UserError, match='Class 1 has 2 images but 3'):
    long_tail_indices(np.array([0, 0, 0, 1, 1]), np.array([3, 3]))
