"""Figures of regression: by hand, against scikit-learn, and the groups."""

import numpy as np
import pytest
from sklearn import metrics

from fass_jax.regression import errors, errors_by_shot, shots


def test_by_hand():
  got = errors([1.0, 2.0, 6.0], [2.0, 2.0, 2.0], least=0.5)
  assert got['count'] == 3 and got['mae'] == pytest.approx(5 / 3)
  assert got['mse'] == pytest.approx(17 / 3) and got['rmse'] == pytest.approx((17 / 3) ** 0.5)
  # 1, an exact hit that counts as 0.5, 4
  assert got['gm'] == pytest.approx(2 ** (1 / 3))
  assert np.isnan(got['pearson']) and np.isnan(got['spearman'])


def test_against_scikit_learn_and_ranks():
  rng = np.random.default_rng(0)
  y = rng.normal(40, 20, 300)
  p = y + rng.normal(0, 9, 300)
  got = errors(p, y)
  assert got['mae'] == pytest.approx(metrics.mean_absolute_error(y, p), rel=1e-6)
  assert got['mse'] == pytest.approx(metrics.mean_squared_error(y, p), rel=1e-6)
  assert got['gm'] == pytest.approx(np.exp(np.log(np.abs(p - y)).mean()), rel=1e-6)
  assert got['pearson'] == pytest.approx(np.corrcoef(p, y)[0, 1], rel=1e-6)
  ranks = [np.argsort(np.argsort(x)) for x in (p, y)]
  assert got['spearman'] == pytest.approx(np.corrcoef(*ranks)[0, 1], rel=1e-6)


def test_of_nothing_and_of_what_is_not_finite():
  none = errors([], [])
  assert none.pop('count') == 0 and all(np.isnan(x) for x in none.values())
  assert np.isnan(errors([np.nan, 1.0], [0.0, 1.0])['mae'])
  assert np.isnan(errors([np.inf, 1.0], [0.0, 1.0])['pearson'])


def test_fixed_groups():
  counts = np.array([101, 100, 20, 19, 0])
  got = shots(np.arange(5), counts)
  assert [[*np.flatnonzero(got[g])] for g in ('many', 'medium', 'few')] == [[0], [1, 2], [3, 4]]


def test_thirds_where_a_group_is_empty():
  counts = np.array([3, 9, 0, 7, 1, 12, 5])  # nobody has more than 100
  got = shots(np.arange(7), counts)
  assert [[*np.flatnonzero(got[g])] for g in ('many', 'medium', 'few')] == [
    [1, 5],
    [3, 6],
    [0, 2, 4],
  ]
  # no test example in a group, though bins of the group exist: the groups stay
  got = shots(np.array([0, 0]), np.array([500, 50, 5]))
  assert got['many'].all() and not got['few'].any()


def test_by_shot():
  p, y = np.array([1.0, 2.0, 3.0, 9.0]), np.array([1.5, 2.0, 2.0, 5.0])
  got = errors_by_shot(p, y, shots(np.array([0, 0, 1, 2]), np.array([500, 50, 5])))
  assert [got[g]['mae'] for g in ('all', 'many', 'medium', 'few')] == [1.375, 0.25, 1, 4]
