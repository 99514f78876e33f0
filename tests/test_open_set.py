"""Open-set figures: by hand, by pairs, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fass_jax.report import open_set

# known: right, right, wrong, rejected; unknown: accepted, rejected, rejected
PREDICTED, LABELS = np.array([0, 1, 1, -1, 2, -1, -1]), np.array([0, 1, 0, 2, -1, -1, -1])


def test_f_measure_by_hand():
  # textbook: tp 2, fp 2 (a wrong one, an intruder), fn 2 (a wrong one, a rejected one)
  assert open_set.f_measure(PREDICTED, LABELS, 'textbook') == pytest.approx(4 / 8)
  # published: fp 2 (both known ones that are not right), fn 1 (the intruder)
  assert open_set.f_measure(PREDICTED, LABELS, 'published') == pytest.approx(4 / 7)
  assert open_set.f_measure([-1, 1], [-1, 1]) == 1.0
  for form in ('textbook', 'published'):
    assert open_set.f_measure([1, -1], [0, 0], form) == 0.0
    assert open_set.f_measure([], [], form) == 0.0
  with pytest.raises(ValueError, match='neither'):
    open_set.f_measure(PREDICTED, LABELS, 'macro')


def scores(seed=0, step=0.1):
  """Rounded scores, with ties, and which known images are right."""
  rng = np.random.default_rng(seed)
  known, unknown = rng.normal(0.6, 0.2, 80), rng.normal(0.4, 0.2, 50)
  right = rng.uniform(size=80) < 0.3 + 0.6 * known
  return (np.round(known / step) * step, right, np.round(unknown / step) * step)


def test_auroc_is_that_of_scikit_learn_and_of_all_pairs():
  known, _, unknown = scores()
  got = open_set.auroc(known, unknown)
  both = np.concatenate([known, unknown])
  assert got == pytest.approx(roc_auc_score(np.r_[np.ones(80), np.zeros(50)], both))
  pairs = known[:, None] - unknown[None]
  assert got == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())


def by_thresholds(known, right, unknown):
  """The curve at every threshold, from the highest to the lowest."""
  points = [(0.0, 0.0)]
  for at in sorted({*known, *unknown}, reverse=True):
    points.append(((unknown >= at).mean(), ((known >= at) & right).mean()))
  return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:]))


@pytest.mark.parametrize('seed', range(3))
def test_oscr_is_the_area_by_all_thresholds(seed):
  known, right, unknown = scores(seed)
  got = open_set.oscr(known, right, unknown)
  assert got == pytest.approx(by_thresholds(known, right, unknown))
  assert got <= right.mean()
  assert open_set.oscr(known, np.ones(80, bool), unknown) == pytest.approx(
    open_set.auroc(known, unknown)
  )
  assert open_set.oscr(known, np.zeros(80, bool), unknown) == 0.0
  assert open_set.oscr(known + 9, right, unknown) == pytest.approx(right.mean())


def test_a_threshold_rejects_its_share_of_the_known_images():
  p = np.random.default_rng(1).dirichlet(np.ones(4), 1000)
  at = open_set.threshold(p.max(1), 0.01)
  got = open_set.reject(p, at)
  assert (got == -1).sum() == 10
  np.testing.assert_array_equal(got[got >= 0], p.argmax(1)[got >= 0])
  # the largest of 4 probabilities is never below 1/4, and one at the threshold stays
  assert (open_set.reject(p, 0.25) >= 0).all()
  np.testing.assert_array_equal(open_set.reject(np.array([[0.5, 0.5], [0.6, 0.4]]), 0.6), [-1, 0])
