"""SMOTE's rows and Borderline-SMOTE's danger set against NumPy."""

import jax
import numpy as np
import pytest

from fass_jax.sampling.smote import danger, nearest, smote


def cloud(seed=0, n=40):
  rng = np.random.default_rng(seed)
  y = rng.choice(3, n, p=[0.6, 0.25, 0.15])
  return (rng.normal(size=(n, 3)) + 0.7 * y[:, None]).astype(np.float32), y


def neighbours(x, k):
  """The k nearest others, by sorting all distances."""
  distance = np.sqrt(((np.float64(x)[:, None] - np.float64(x)[None]) ** 2).sum(-1))
  np.fill_diagonal(distance, np.inf)
  return np.argsort(distance, axis=1, kind='stable')[:, :k]


def test_neighbours_are_the_nearest_others_and_a_copy_is_one():
  x, _ = cloud()
  np.testing.assert_array_equal(nearest(x, x, 5, np.arange(len(x))), neighbours(x, 5))
  far = x + np.float32(1e4)  # distances of 1 at coordinates of 10,000
  same = np.asarray(nearest(far, far, 5, np.arange(len(x))))
  np.testing.assert_array_equal(same, neighbours(far, 5))
  twice = np.concatenate([x, x[:1]])
  assert nearest(twice, twice, 1, np.arange(len(twice)))[0, 0] == len(x)


def test_rows_lie_between_a_row_and_one_of_its_neighbours():
  x, k = cloud()[0][:12], 3
  made = np.float64(smote(jax.random.key(1), x, 3000, k))
  near, place = neighbours(x, k), np.zeros((12, k))
  deltas = []
  for row in made:
    found = []
    for i in range(12):
      for j in range(k):
        way = np.float64(x[near[i, j]]) - x[i]
        delta = ((row - x[i]) @ way) / (way @ way)
        if np.abs(row - x[i] - delta * way).max() < 1e-5 and -1e-5 <= delta <= 1 + 1e-5:
          found.append((i, j, delta))
    assert found
    if len(found) == 1:  # else two rows are neighbours of each other
      place[found[0][0], found[0][1]] += 1
      deltas.append(found[0][2])
  # those that cannot be told apart are left out; the others are drawn uniformly
  counts = place[place > 0]
  assert counts.min() > 3000 / 36 - 5 * np.sqrt(3000 / 36)
  assert counts.max() < 3000 / 36 + 5 * np.sqrt(3000 / 36)
  ordered = np.sort(deltas)
  gap = np.abs(ordered - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()
  assert gap < 2 / np.sqrt(len(ordered))  # Kolmogorov and Smirnov, p below .001


def test_equal_keys_make_equal_rows_and_none_are_made_on_request():
  x = cloud()[0]
  a, b, c = (np.asarray(smote(jax.random.key(s), x, 7, 5)) for s in (3, 3, 4))
  np.testing.assert_array_equal(a, b)
  assert (a != c).any() and a.dtype == np.float32
  assert smote(jax.random.key(3), x, 0, 5).shape == (0, 3)
  for k, rows in ((5, 5), (1, 1), (0, 9)):
    with pytest.raises(ValueError, match='neighbours need more than'):
      smote(jax.random.key(0), x[:rows], 1, k)


def test_rows_in_danger():
  x, y = cloud(5, 120)
  near = neighbours(x, 10)
  found = 0
  for c in range(3):
    others = (y[near] != c).sum(1)
    want = (y == c) & (others >= 5) & (others < 10)
    np.testing.assert_array_equal(danger(x, y, c, 10), want)
    found += want.sum()
  assert 10 < found < 110


def test_danger_by_hand():
  """On a line: class 1 at 0, 1, 10; class 0 at 9, 11, 12. With m = 2."""
  x = np.array([[0.0], [1.0], [10.0], [9.0], [11.0], [12.0]], np.float32)
  y = np.array([1, 1, 1, 0, 0, 0])
  # of class 1: 0 has 1 and 9: one of two; 1 has 0 and 9: one of two; 10 has 9 and 11: noise
  np.testing.assert_array_equal(danger(x, y, 1, 2), [True, True, False, False, False, False])
  # of class 0: 9 has 10 and 11; 11 has 10 and 12 (equal distances); 12 has 11 and 10
  np.testing.assert_array_equal(danger(x, y, 0, 2), [False, False, False, True, True, True])
