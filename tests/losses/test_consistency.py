"""Two Gaussians whose best rule is known: which losses find it, and which do not."""

import math

import numpy as np
import pytest

from launch import consistency


@pytest.fixture(scope='module')
def grid():
  return consistency.population()


def error_of(name, sample):
  return consistency.balanced_error(consistency.fit(consistency.LOSSES[name], sample))


def test_the_least_error_and_its_rule():
  # Phi(-sqrt 2), of the line x1 + x2 = 0
  np.testing.assert_allclose(consistency.BAYES, 0.0786496, rtol=1e-6)
  rule = np.array([[-1.0, -1, 0], [1, 1, 0]])
  np.testing.assert_allclose(consistency.balanced_error(rule), consistency.BAYES, rtol=1e-12)
  # a line that all points are before: right about one class, wrong about the other
  far = np.array([[0.0, 0, 1e3], [1, 1, 0]])
  np.testing.assert_allclose(consistency.balanced_error(far), 0.5, atol=1e-12)


def test_cross_entropy_finds_the_posterior(grid):
  """log odds = 2 x1 + 2 x2 + log(.05 / .95); so its line misses more than half of the rare."""
  rows = consistency.fit(consistency.LOSSES['cross entropy'], grid)
  line = rows[1] - rows[0]
  np.testing.assert_allclose(line, [2, 2, math.log(0.05 / 0.95)], rtol=2e-3)
  plain = consistency.balanced_error(rows)
  np.testing.assert_allclose(plain, 0.1808, atol=2e-4)
  # corrected afterwards it is best; scaled afterwards it is what it was, as both rows are as long
  fixed = consistency.balanced_error(consistency.adjusted(rows))
  np.testing.assert_allclose(fixed, consistency.BAYES, rtol=1e-4)
  scaled = consistency.balanced_error(consistency.normalised(rows))
  np.testing.assert_allclose(scaled, plain, rtol=1e-3)


@pytest.mark.parametrize(
  'name', ['logit adjustment', 'weighted cross entropy', 'weighted_la, tau .5']
)
def test_consistent_losses_reach_it(grid, name):
  np.testing.assert_allclose(error_of(name, grid), consistency.BAYES, rtol=1e-4)


@pytest.mark.parametrize(
  'name, error', [('weights and margins', 0.1808), ('equalised, g .9', 0.1031)]
)
def test_others_do_not(grid, name, error):
  """Weights and margins that each correct the whole prior miss as much on the other side."""
  np.testing.assert_allclose(error_of(name, grid), error, atol=5e-4)


def test_from_samples():
  sample = consistency.draw(0, 10_000)
  assert sample.y.sum() == 500
  assert error_of('logit adjustment', sample) < consistency.BAYES + 0.002


def test_a_second_correction_beside_equalised_is_worse(grid):
  """So it counts as one: what post-hoc adjustment takes out, it has taken out for the most part."""
  rows = consistency.fit(consistency.LOSSES['equalised, g .9'], grid)
  twice = consistency.balanced_error(consistency.adjusted(rows))
  np.testing.assert_allclose(twice, 0.1525, atol=5e-4)
