"""Shifted test sets: by hand on three classes, and resampling against reweighting."""

import numpy as np
import pytest

from fass_jax.report import shifts
from fass_jax.report.shifts import Shift


def test_profiles_by_hand():
  # ranks by training images: class 1, class 0, class 2; class 3 is not tested
  train, test = np.array([20, 300, 5, 9]), np.array([40, 50, 40, 0])
  n = shifts.profile(train, test, Shift('F8', 8))
  np.testing.assert_allclose(n, [20, 40, 10, 0])  # 40 / 8^(j / 3)
  np.testing.assert_allclose(shifts.profile(train, test, Shift('B8', 8, True)), [20, 10, 40, 0])
  # one to one is uniform, in both directions
  for backward in (False, True):
    np.testing.assert_allclose(shifts.profile(train, test, Shift('', 1, backward)), [40, 40, 40, 0])


def test_the_eleven_columns():
  names = [shift.name for shift in shifts.SHIFTS]
  assert names == ['F50', 'F25', 'F10', 'F5', 'F2', 'U', 'B2', 'B5', 'B10', 'B25', 'B50']
  train = np.array([30, 20, 10])
  n = shifts.profiles(train, np.array([6, 6, 6]), whole=True)
  assert n.shape == (11, 3) and (n >= 1).all() and (n == np.rint(n)).all()
  np.testing.assert_array_equal(n[5], [6, 6, 6])
  np.testing.assert_array_equal(n[::-1, ::-1], n)
  np.testing.assert_array_equal(n[0], [6, 2, 1])  # 6, 1.63, .44


def test_figures_by_hand():
  recall = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, np.nan]])
  n = np.array([[6.0, 3, 1], [1, 3, 6], [1, 1, 0]])
  np.testing.assert_allclose(shifts.accuracy(recall, n), [0.7, 0.3, 0.7])
  groups = {'many': np.array([1, 0, 0], bool), 'medium': np.zeros(3, bool),
            'few': np.array([0, 1, 1], bool)}  # fmt: skip
  got = shifts.figures(np.array([[9, 5, 1]]), np.array([[10, 10, 10]]), n[:1], groups)
  np.testing.assert_allclose(got['top1'], [0.7])
  np.testing.assert_allclose(got['many'], [0.9])
  np.testing.assert_allclose(got['few'], [0.3])
  assert np.isnan(got['medium'][0])
  text = shifts.table({k: v * 11 for k, v in got.items()}, None)
  assert 'F50' in text.splitlines()[0] and text.count('70.00') == 11 and text.count('-  ') >= 10


def test_resampling_draws_the_counts_and_nests():
  labels = np.repeat(np.arange(3), 12)
  n = shifts.profiles(np.array([30, 20, 10]), np.array([12, 12, 12]), whole=True)
  chosen = shifts.resample(labels, n, 3)
  np.testing.assert_array_equal([np.bincount(labels[row], minlength=3) for row in chosen], n)
  forward = chosen[:6]
  assert not (forward[:-1] & ~forward[1:]).any()  # F50 inside F25 inside .. inside the whole set
  assert chosen[5].all()
  np.testing.assert_array_equal(chosen, shifts.resample(labels, n, 3))
  assert (chosen != shifts.resample(labels, n, 4)).any()


@pytest.mark.parametrize('column', [0, 2, 8])
def test_the_reweighted_figure_is_the_mean_of_the_resampled(column):
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(3), 12)
  right = rng.random(36) < np.array([0.9, 0.6, 0.2])[labels]
  recall = np.array([right[labels == c].mean() for c in range(3)])
  n = shifts.profiles(np.array([30, 20, 10]), np.full(3, 12), whole=True)[column : column + 1]
  drawn = [right[shifts.resample(labels, n, seed)[0]].mean() for seed in range(800)]
  error = 4 * np.std(drawn) / len(drawn) ** 0.5
  np.testing.assert_allclose(np.mean(drawn), shifts.accuracy(recall[None], n)[0], atol=error)
