"""Figures of regression on a test set: host functions, in the unit of the label."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LEAST = 1e-6  # a smaller error counts as this one in the geometric mean
GROUPS = ('all', 'many', 'medium', 'few')


def errors(predictions: ArrayLike, targets: ArrayLike, least: float = LEAST) -> dict[str, float]:
  """Returns the figures of some predictions.

  Args:
    predictions: `[N]`.
    targets: `[N]`.
    least: > 0; a smaller absolute error counts as `least` in the geometric mean, which one exact
      prediction would otherwise make 0.

  Returns:
    `count` N; `mae` mean |e|; `mse` mean e^2; `rmse` its root; `gm` exp(mean log max(|e|, least));
    `pearson` and `spearman` correlations. All are NaN for N = 0, and the correlations also if
    predictions or targets are constant.

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554, for GM.
  """
  p, y = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
  e = np.abs(p - y)
  if not len(e):
    return {
      'count': 0,
      **dict.fromkeys(('mae', 'mse', 'rmse', 'gm', 'pearson', 'spearman'), np.nan),
    }
  square = float(np.mean(e * e))
  return {
    'count': len(e),
    'mae': float(e.mean()),
    'mse': square,
    'rmse': square**0.5,
    'gm': float(np.exp(np.log(np.maximum(e, least)).mean())),
    **_correlations(p, y),
  }


def _correlations(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
  from scipy import stats  # late: importing it takes a second

  whole = len(p) > 1 and np.isfinite(p).all() and np.ptp(p) > 0 and np.ptp(y) > 0
  if not whole:
    return {'pearson': float('nan'), 'spearman': float('nan')}
  return {
    'pearson': float(stats.pearsonr(p, y).statistic),
    'spearman': float(stats.spearmanr(p, y).statistic),
  }


def shots(
  bins: ArrayLike, counts: ArrayLike, many: int = 100, few: int = 20, adapt: bool = True
) -> dict[str, np.ndarray]:
  """Groups test examples by the training examples in the bin of their label.

  Many-shot bins have more than `many`, few-shot bins fewer than `few`. If one of the groups has no
  bin with training examples, the bins with training examples are split into thirds instead, by
  their numbers; bins of equal numbers stay together.

  Args:
    bins: integer `[N]`.
    counts: integer `[num_bins]`, training examples.
    many: see above.
    few: see above.
    adapt: False: the groups stay as they are, and one of them may be empty.

  Returns:
    bool `[N]` masks 'many', 'medium', 'few'; a bin without training examples is few-shot.

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
  """
  n = np.asarray(counts)
  filled = np.sort(n[n > 0])[::-1]
  groups = (filled > many, (filled <= many) & (filled >= few), filled < few)
  if adapt and len(filled) and not all(group.any() for group in groups):
    third = len(filled) // 3
    many, few = int(filled[third]), int(filled[-third - 1])
  own = n[np.asarray(bins)]
  return {'many': own > many, 'medium': (own <= many) & (own >= few), 'few': own < few}


def errors_by_shot(
  predictions: ArrayLike,
  targets: ArrayLike,
  groups: dict[str, np.ndarray],
  least: float = LEAST,
) -> dict[str, dict[str, float]]:
  """Returns `errors` of all examples and of each group of `shots`, by the names of `GROUPS`."""
  p, y = np.asarray(predictions), np.asarray(targets)
  every = {'all': np.ones(len(p), bool), **groups}
  return {name: errors(p[mask], y[mask], least) for name, mask in every.items()}
