"""SMOTE and Borderline-SMOTE's rows and danger sets against NumPy and imbalanced-learn."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.sampling.smote import (
  Segments,
  between,
  borderline_1_segments,
  borderline_2_segments,
  danger,
  nearest,
  smote,
  smote_segments,
)
from fass_jax.types import UserError


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


def test_a_class_has_as_many_neighbours_as_other_rows(caplog):
  """k = min(k, n - 1), with a line; in a compiled function too."""
  x, key = cloud()[0][:4], jax.random.key(1)
  want = np.asarray(smote(key, x, 50, 3))
  assert not caplog.records
  for make in (smote, jax.jit(smote, static_argnums=(2, 3))):
    with caplog.at_level(logging.INFO, logger='fass_jax'):
      np.testing.assert_allclose(make(key, x, 50, 9), want, atol=1e-6)
    (line,) = [r.getMessage() for r in caplog.records]
    assert line == 'SMOTE: 3 neighbours instead of 9 for a class of 4 rows.'
    caplog.clear()


@pytest.mark.parametrize(
  ('rows', 'k', 'said'),
  [
    (1, 5, 'the class has 1; add rows'),
    (0, 5, 'the class has 0'),
    (9, 0, 'at least one neighbour'),
  ],
)
def test_what_smote_cannot_do(rows, k, said):
  with pytest.raises(UserError, match=said):
    smote(jax.random.key(0), cloud()[0][:rows], 1, k)


@pytest.mark.parametrize('m', [0, 40, 41])
def test_m_has_bounds(m):
  x, y = cloud()
  with pytest.raises(UserError, match=f'm={m} nearest rows, but m is in 1 .. 39 for 40 rows'):
    danger(x, y, 1, m)


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


# imbalanced-learn 0.14.2 on cloud(5, 120): BorderlineSMOTE(k_neighbors=5, m_neighbors=10)'s rows in
# danger by class; SMOTE(k_neighbors=3)'s first new rows; the 3 nearest rows of class 2 within it
DANGER = (
  [5, 7, 20, 21, 34, 48, 72, 89, 97, 98, 105, 107],
  [0, 1, 10, 15, 24, 30, 36, 39, 41, 44, 51, 58, 59, 60, 65, 66, 68, 71, 73, 74, 77, 78, 80, 81,
   90, 96, 101, 119],
  [13, 14, 25, 27, 28, 49, 55, 85, 91, 92, 94, 100, 108, 116],
)  # fmt: skip
MADE = {
  1: [[-0.137238, 0.880829, 1.452491], [-1.375659, 0.177354, 0.308607],
      [1.404129, 1.448771, -0.271483], [0.802986, -0.004735, 0.038322],
      [-0.024258, 1.164981, 0.691176], [0.168616, 0.277899, 0.265877]],
  2: [[-0.000259, 2.196884, 0.834340], [1.197610, 0.422218, 2.351196],
      [2.592954, 1.807416, 0.077640], [2.865521, 1.085385, 0.124479],
      [0.804304, 0.778931, 1.552059], [0.366850, 0.610843, 1.471018]],
}  # fmt: skip
MADE_1 = {
  1: [[0.198136, -0.391104, 1.402618], [0.072719, 1.137876, 0.521779],
      [1.319231, 1.265679, -0.127043], [0.706499, 0.006403, -0.151857]],
  2: [[2.614791, 0.347601, 1.782112], [2.549252, 0.367269, 2.359231],
      [3.234104, 1.353819, 0.069423], [-0.002606, 0.823854, 1.422834]],
}  # fmt: skip
NEAR = [
  [28, 53, 92], [115, 22, 92], [108, 75, 25], [92, 27, 76], [100, 108, 14], [22, 55, 76],
  [9, 92, 108], [53, 76, 92], [49, 92, 9], [85, 27, 22], [76, 92, 22], [49, 75, 22], [55, 22, 27],
  [100, 116, 85], [22, 53, 75], [13, 85, 55], [91, 25, 116], [14, 28, 25], [13, 53, 116],
  [92, 91, 100],
]  # fmt: skip


def test_danger_sets_and_neighbours_are_those_of_imbalanced_learn():
  x, y = cloud(5, 120)
  for c, want in enumerate(DANGER):
    np.testing.assert_array_equal(np.flatnonzero(danger(x, y, c, 10)), want)
  near = np.asarray(nearest(x, x, 3, np.arange(120), y))
  np.testing.assert_array_equal(near[y == 2], NEAR)


def on_a_segment(row, x, bases, near):
  """Whether a row lies between one of `bases` and one of its neighbours."""
  for i in bases:
    for j in near[i]:
      way = np.float64(x[j]) - x[i]
      delta = ((row - x[i]) @ way) / (way @ way)
      if -1e-4 <= delta <= 1 + 1e-4 and np.abs(row - x[i] - delta * way).max() < 1e-5:
        return True
  return False


@pytest.mark.parametrize(('made', 'borderline'), [(MADE, False), (MADE_1, True)])
def test_rows_of_imbalanced_learn_lie_on_the_segments_that_can_be_drawn(made, borderline):
  """Every segment of 3,000 draws is one of these, and theirs are among them."""
  x, y = cloud(5, 120)
  near = np.asarray(nearest(x, x, 3, np.arange(120), y))
  for c, rows in made.items():
    bases = DANGER[c] if borderline else np.flatnonzero(y == c)
    wanted = np.full(3000, c, np.int32)
    draw = borderline_1_segments if borderline else smote_segments
    got = draw(jax.random.key(c), x, y, wanted, 3, 3, *((10,) if borderline else ()))
    assert set(zip(np.asarray(got.base).tolist(), np.asarray(got.other).tolist())) == {
      (i, j) for i in bases for j in near[i].tolist()
    }
    assert all(on_a_segment(np.array(row), x, bases, near) for row in rows)


def test_new_rows_by_hand():
  x = np.array([[0.0, 0.0], [4.0, 8.0], [10.0, 0.0]], np.float32)
  s = Segments(np.array([0, 2]), np.array([1, 0]), np.array([0.25, 0.5], np.float32), np.ones(2))
  np.testing.assert_allclose(between(x, s), [[1, 2], [5, 0]])
  # features of two experts: one delta for both
  both = np.stack([x, 2 * x], axis=1)
  np.testing.assert_allclose(between(both, s), [[[1, 2], [2, 4]], [[5, 0], [10, 0]]])


def test_borderline_2_by_hand():
  """On a line: class 1 at 0, 1, both in danger with m = 2; class 0 at 1.5, 9, 11, 12."""
  x = np.array([[0.0], [1.0], [1.5], [9.0], [11.0], [12.0]], np.float32)
  y = np.array([1, 1, 0, 0, 0, 0])
  wanted = np.ones(4000, np.int32)
  s = borderline_2_segments(jax.random.key(0), x, y, wanted, 2, 2, 2)
  base, other, delta = (np.asarray(v) for v in s[:3])
  pairs = set(zip(base.tolist(), other.tolist()))
  assert pairs == {(0, 1), (0, 2), (1, 2), (1, 0)} and np.asarray(s.mask).all()
  own = y[other] == 1
  # uniform in [0, 1) towards a row of the class, in [0, .5) towards another
  for values, longest in ((delta[own], 1.0), (delta[~own], 0.5)):
    ordered = np.sort(values) / longest
    gap = np.abs(ordered - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()
    assert gap < 2 / np.sqrt(len(ordered)) and ordered[0] >= 0 and ordered[-1] < 1
  for pair in pairs:
    share = ((base == pair[0]) & (other == pair[1])).mean()
    assert abs(share - 0.25) < 0.04
  # Borderline-SMOTE 1 stays within the class
  s = borderline_1_segments(jax.random.key(0), x, y, wanted, 2, 2, 2)
  assert set(zip(np.asarray(s.base).tolist(), np.asarray(s.other).tolist())) == {(0, 1), (1, 0)}


def test_each_class_is_drawn_by_itself():
  """Rows of one class: those that `smote` makes of it alone."""
  x, y = cloud(3)
  mine, key = x[y == 1], jax.random.key(2)
  s = smote_segments(key, x, y, jnp.ones((20,), jnp.int32), 3, 4)
  np.testing.assert_allclose(between(x, s), smote(key, mine, 20, 4), atol=1e-6)
  np.testing.assert_array_equal(y[np.asarray(s.other)], 1)
