"""Figures of a test with images of unknown classes, which a classifier should reject."""

from __future__ import annotations

import numpy as np

SHARE = 0.01  # of held-out known images, that the chosen threshold rejects
UNKNOWN = -1  # the label of an image of no known class, and the prediction that rejects an image


def threshold(scores: np.ndarray, share: float) -> float:
  """Returns the value that a share of the scores of known images lies below.

  Args:
    scores: float `[N]`, the largest probability of each held-out image of a known class.
    share: in (0, 1), such as .01.
  """
  return float(np.quantile(np.asarray(scores, np.float64), share))


def reject(probabilities: np.ndarray, at: float) -> np.ndarray:
  """Returns the most probable classes, -1 where the largest probability is below `at`.

  Args:
    probabilities: float `[N, C]`.
    at: the threshold. Below 1 / C it rejects nothing.

  Returns:
    int `[N]`.
  """
  p = np.asarray(probabilities)
  return np.where(p.max(axis=1) < at, UNKNOWN, p.argmax(axis=1))


def f_measure(predicted: np.ndarray, labels: np.ndarray, form: str = 'textbook') -> float:
  """Returns F1 = 2 tp / (2 tp + fp + fn), where tp counts known images with the right class.

  'textbook': fp counts accepted images with a wrong class, unknown ones too; fn counts known images
  that are not right, rejected ones too. 'published': fp counts known images that are not right, and
  fn unknown images that are accepted, as in the program of OLTR.

  Args:
    predicted: int `[N]`, -1: rejected.
    labels: int `[N]`, -1: unknown.
    form: 'textbook' or 'published'.

  Returns:
    In [0, 1]; 0 where nothing is right.

  Raises:
    ValueError: for another form.

  Reference: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, arXiv:1904.05160.
  """
  if form not in ('textbook', 'published'):
    raise ValueError(f"form='{form}' is neither 'textbook' nor 'published'")
  predicted, labels = np.asarray(predicted), np.asarray(labels)
  known, accepted, right = labels != UNKNOWN, predicted != UNKNOWN, predicted == labels
  hits = int((known & right).sum())
  missed, intruders = int((known & ~right).sum()), int((~known & accepted).sum())
  if form == 'published':
    fp, fn = missed, intruders
  else:
    fp, fn = int((accepted & ~right).sum()), missed
  return 2 * hits / (2 * hits + fp + fn) if hits else 0.0


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
  """Returns P(score of a known image > score of an unknown one); equal scores count one half.

  Args:
    known: float `[N]`, N > 0.
    unknown: float `[M]`, M > 0.
  """
  from sklearn.metrics import roc_auc_score  # late: importing it takes a second

  is_known = np.repeat([1, 0], [len(known), len(unknown)])
  return float(roc_auc_score(is_known, np.concatenate([known, unknown])))


def oscr(known: np.ndarray, right: np.ndarray, unknown: np.ndarray) -> float:
  """Returns the area under the share of right known images over the share of unknown ones accepted.

  At a threshold s, images with a score of at least s are accepted. The right share is that of known
  images which are accepted and right, among all known ones. Between two thresholds the curve is a
  straight line. With all known images right it is `auroc`.

  Args:
    known: float `[N]`, scores of the known images, N > 0.
    right: bool `[N]`, whether their class is right.
    unknown: float `[M]`, scores of the unknown images, M > 0.

  Returns:
    In [0, 1], at most the accuracy.

  Reference: Dhamija et al., Reducing Network Agnostophobia, arXiv:1811.04110.
  """
  good = np.sort(np.asarray(known, np.float64)[np.asarray(right, bool)])
  bad = np.sort(np.asarray(unknown, np.float64))
  at = np.unique(np.concatenate([good, bad]))[::-1]
  accepted = [(len(x) - np.searchsorted(x, at, 'left')) for x in (good, bad)]
  y, x = (np.concatenate([[0.0], n / total])
          for n, total in zip(accepted, (len(known), len(bad)), strict=True))  # fmt: skip
  return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def figures(
  known: tuple[np.ndarray, np.ndarray],
  labels: np.ndarray,
  unknown: tuple[np.ndarray, np.ndarray],
  at: float,
) -> dict[str, float]:
  """Returns the figures of a test set and an open set.

  Args:
    known: of the test set, the largest probability, float `[N]`, and its class, int `[N]`.
    labels: int `[N]`, of the test set.
    unknown: the same of the open set, `[M]` each.
    at: the threshold; an image is rejected below it.

  Returns:
    `threshold`; `images`, M; `f_published` and `f_textbook`, see `f_measure`; `auroc` and `oscr`;
    `known_rejected` and `unknown_rejected`, shares in [0, 1].
  """
  score, guess = (np.concatenate(both) for both in zip(known, unknown))
  predicted = np.where(score < at, UNKNOWN, guess)
  all_labels = np.concatenate([labels, np.full(len(unknown[0]), UNKNOWN)])
  return {
    'threshold': float(at),
    'images': len(unknown[0]),
    'f_published': f_measure(predicted, all_labels, 'published'),
    'f_textbook': f_measure(predicted, all_labels),
    'auroc': auroc(known[0], unknown[0]),
    'oscr': oscr(known[0], known[1] == labels, unknown[0]),
    'known_rejected': float((known[0] < at).mean()),
    'unknown_rejected': float((unknown[0] < at).mean()),
  }
