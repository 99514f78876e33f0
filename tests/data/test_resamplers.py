"""Classes up to the count of the largest: which rows come, which classes stay, what is refused."""

import logging

import jax
import numpy as np
import pytest

from fass_jax.sampling.resamplers import RESAMPLERS, balance, check, missing, resample
from fass_jax.types import UserError
from tests.data.test_smote import DANGER, cloud


def sizes(labels):
  return np.bincount(labels).tolist()


def test_missing_rows_by_hand():
  assert missing(np.array([4, 0, 1, 3, 4])).tolist() == [2, 2, 2, 3]
  assert missing(np.array([2, 2])).tolist() == []


@pytest.mark.parametrize('kind', RESAMPLERS)
def test_every_class_gets_the_count_of_the_largest(kind):
  x, y = cloud(5, 120)
  rows, labels = balance(kind, jax.random.key(0), x, y)
  assert sizes(y) == [70, 30, 20] and sizes(labels) == [70, 70, 70]
  np.testing.assert_array_equal(rows[:120], x)
  np.testing.assert_array_equal(labels[:120], y)
  assert rows.dtype == np.float32
  # within the box of the rows; of own-class kinds within that of the class
  for c in (1, 2):
    box = x[y == c] if RESAMPLERS[kind].own_class else x
    new = np.asarray(rows)[120:][labels[120:] == c]
    assert (new >= box.min(0) - 1e-5).all() and (new <= box.max(0) + 1e-5).all()
  again, other = (balance(kind, jax.random.key(s), x, y)[0] for s in (0, 1))
  np.testing.assert_array_equal(again, rows)
  assert (np.asarray(other) != np.asarray(rows)).any()


def test_borderline_rows_begin_in_danger():
  x, y = cloud(5, 120)
  for kind in ('borderline_smote_1', 'borderline_smote_2'):
    how, wanted = RESAMPLERS[kind], missing(np.bincount(y))
    base = np.asarray(how.segments(jax.random.key(0), x, y, wanted, 3, 5, 10).base)
    for c in (1, 2):
      assert set(base[wanted == c]) <= set(DANGER[c])


def test_a_class_without_danger_stays_as_it_is_with_a_line(caplog):
  """Class 2 lies far from the others: all its neighbours are its own."""
  x, y = cloud(5, 120)
  x = x + 100 * (y == 2)[:, None].astype(np.float32)
  with caplog.at_level(logging.INFO, logger='fass_jax'):
    got = resample('borderline_smote_1', jax.random.key(0), x, y, names=('a', 'b', 'c'))
  (line,) = [r.getMessage() for r in caplog.records]
  assert line == 'borderline_smote_1: no row is in danger, so nothing is added: class 2 (c).'
  # the number of places is a function of the counts, and those of class 2 are marked
  assert sizes(got.labels) == [70, 70, 70] and int(got.there.sum()) == 70 + 70 + 20
  assert not np.asarray(got.there)[120:][got.labels[120:] == 2].any()
  rows, labels = balance('borderline_smote_1', jax.random.key(0), x, y)
  assert sizes(labels) == [70, 70, 20]
  np.testing.assert_array_equal(np.asarray(rows)[labels == 2], x[y == 2])
  # a place that is marked is a copy of a row of its class, which no number suffers from
  copies = np.asarray(got.rows)[120:][got.labels[120:] == 2]
  np.testing.assert_array_equal(copies, np.broadcast_to(x[y == 2][0], copies.shape))


def test_small_classes_have_fewer_neighbours_with_a_line(caplog):
  x, y = cloud(5, 120)
  keep = np.flatnonzero((y != 2) | (np.cumsum(y == 2) <= 3))
  with caplog.at_level(logging.INFO, logger='fass_jax'):
    rows, labels = balance('smote', jax.random.key(0), x[keep], y[keep])
  (line,) = [r.getMessage() for r in caplog.records]
  assert line == (
    'smote: fewer than 5 neighbours, at least 2, for classes of at most 5 rows: class 2.'
  )
  assert sizes(labels) == [70, 70, 70]
  mine = x[keep][y[keep] == 2]
  new = np.asarray(rows)[len(keep) :][labels[len(keep) :] == 2]
  # between three rows: each new one is in the plane of the triangle
  normal = np.cross(mine[1] - mine[0], mine[2] - mine[0])
  assert np.abs((new - mine[0]) @ normal).max() < 1e-4 * np.linalg.norm(normal)


def test_distances_are_those_of_the_space():
  """A column of large numbers decides alone, until it is standardised."""
  x = np.array([[0.0, 0], [1000, 1], [0, 100]] + [[9e3, 9e3]] * 60, np.float32)
  y = np.array([0] * 3 + [1] * 60)

  def new(**space):
    return np.asarray(resample('smote', jax.random.key(0), x, y, 1, **space).rows)[63:]

  a, b = new().T  # of (1000, 1) and (0, 100) the nearest is (0, 0)
  assert len(a) == 57 and ((a == 0) | (b <= 1)).all()
  a, b = new(space=lambda x: x * np.array([[1e-4, 1e-2]], np.float32)).T
  assert ((a > 0) & (b > 1)).any()  # between (1000, 1) and (0, 100)


@pytest.mark.parametrize('kind', RESAMPLERS)
def test_a_class_of_one_row_is_refused(kind):
  x, y = cloud()
  y = np.where(np.arange(40) == 7, 3, np.where(y == 2, 1, y))
  y = np.where(y == 3, 2, y)
  with pytest.raises(UserError, match=rf'class 2 has only one training example, but {kind} makes'):
    balance(kind, jax.random.key(0), x, y)
  with pytest.raises(UserError, match=r'class 2 \(dog\) has only .* \(2 such classes\); add'):
    check(kind, [9, 4, 1, 1], 5, 10, ('a', 'b', 'dog', 'd'))
  check(kind, [1, 1], 5, 1)  # nothing is missing


def test_numbers_of_neighbours_have_bounds():
  with pytest.raises(UserError, match='at least one neighbour, not k=0'):
    check('smote', [5, 3], 0, 1)
  with pytest.raises(UserError, match=r'm=8 nearest rows, but m is in 1 .. 7 for 8 rows'):
    check('borderline_smote_2', [5, 3], 5, 8)
  check('smote', [5, 3], 5, 8)  # does not read m


def test_an_absent_class_stays_absent_and_a_balanced_set_as_it_is():
  x, y = cloud()
  got = resample('smote', jax.random.key(0), x, np.where(y == 1, 3, y))
  assert np.bincount(got.labels)[1] == 0
  even = np.arange(40) % 4
  rows, labels = balance('smote', jax.random.key(0), x, even)
  np.testing.assert_array_equal(rows, x)
  np.testing.assert_array_equal(labels, even)


def test_features_of_experts_are_rows_too():
  x, y = cloud(5, 120)
  both = np.stack([x, -x], axis=1)
  got, _ = balance('smote', jax.random.key(0), both, y)
  assert got.shape == (210, 2, 3)
  np.testing.assert_allclose(got[:, 0], -got[:, 1], atol=1e-6)
