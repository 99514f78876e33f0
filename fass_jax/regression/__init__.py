"""Imbalanced regression as pure functions: a label is a number y in a bin b, and bins are rare.

    kernel_window(kernel, size, sigma) -> [size]           a window over neighbouring bins
    lds_weights(bins [N], num_bins, ...) -> [N]            label distribution smoothing (LDS)
    fds_init(num_bins, D), fds_update(state, features, bins), fds_smooth(state, features, bins)
                                                           feature distribution smoothing (FDS)
    loss(name, predictions [B], targets [B]) -> scalar     L1, MSE, Huber, focal-R
    balanced_mse(predictions [B], targets [B], noise)      Balanced MSE
    errors(predictions, targets)                           MAE, MSE, RMSE, GM, correlations
    shots(bins, counts), errors_by_shot(...)               by many, medium and few training examples

Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
"""

from fass_jax.regression.fds import Statistics, fds_init, fds_smooth, fds_update
from fass_jax.regression.figures import errors, errors_by_shot, shots
from fass_jax.regression.losses import LOSSES, balanced_mse, loss
from fass_jax.regression.weights import bin_weights, kernel_window, lds_weights

__all__ = [
  'LOSSES',
  'Statistics',
  'balanced_mse',
  'bin_weights',
  'errors',
  'errors_by_shot',
  'fds_init',
  'fds_smooth',
  'fds_update',
  'kernel_window',
  'lds_weights',
  'loss',
  'shots',
]
