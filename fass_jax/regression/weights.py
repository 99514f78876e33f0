"""Label distribution smoothing (LDS): weights of training examples by the density of their label.

These functions run on the host, once per run, because the rounding of the published program is
part of its weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

KERNELS = ('gaussian', 'triang', 'laplace')
MODES = ('sqrt_inv', 'inverse')
ORDERS = ('code', 'paper')
LEAST, MOST = 5, 1000  # bounds of the counts that 'inverse' divides by, in the published program


def kernel_window(kernel: str, size: int, sigma: float) -> np.ndarray:
  """Returns a symmetric window over neighbouring bins.

    gaussian: an impulse after SciPy's Gaussian filter, which reflects it at both ends; with
              size 5 and sigma 2 it is nearly flat, .1863 .2052 .2170 .2052 .1863
    triang:   1 - 2 |i| / (size + 1)
    laplace:  exp(-|i| / sigma)

  each divided by its sum, with i = -(size - 1) / 2 .. (size - 1) / 2.

  Args:
    kernel: one of `KERNELS`.
    size: bins, odd.
    sigma: > 0, in bins; 'triang' does not read it.

  Returns:
    float64 `[size]`, sum 1.

  Raises:
    ValueError: for another kernel, an even size or a sigma of 0 or less.

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
  """
  if kernel not in KERNELS:
    raise ValueError(f"kernel='{kernel}' is none of {', '.join(KERNELS)}")
  if size < 1 or size % 2 == 0:
    raise ValueError(f'size={size} is not odd')
  if not sigma > 0:
    raise ValueError(f'sigma={sigma} is not above 0')
  away = np.abs(np.arange(size) - size // 2)
  if kernel == 'gaussian':
    from scipy import ndimage  # late: importing it takes a moment

    window = ndimage.gaussian_filter1d((away == 0).astype(float), sigma=sigma)
  elif kernel == 'triang':
    window = 1.0 - 2.0 * away / (size + 1)
  else:
    window = np.exp(-away / sigma)
  return window / window.sum()


def bin_weights(
  counts: ArrayLike,
  kernel: str | None = None,
  size: int = 5,
  sigma: float = 2.0,
  mode: str = 'sqrt_inv',
  order: str = 'code',
) -> np.ndarray:
  """Returns the weight of an example of each bin, such that the mean over the examples is 1.

  With the counts n, the window k divided by its maximum, and bins beyond the ends empty:

    code,  sqrt_inv:  1 / (k * sqrt(n))
    code,  inverse:   1 / floor(k * clip(n, 5, 1000)), without a kernel 1 / clip(n, 5, 1000)
    paper, sqrt_inv:  1 / sqrt(k * n)
    paper, inverse:   1 / (k * n)

  where * is a convolution over the bins. The floor is that of the published program, which
  convolves integers.

  Args:
    counts: integer `[num_bins]`, training examples per bin.
    kernel: one of `KERNELS`, or None: not smoothed.
    size: bins of the window, odd.
    sigma: of the window, see `kernel_window`.
    mode: 'sqrt_inv' or 'inverse'.
    order: 'code' or 'paper'.

  Returns:
    float64 `[num_bins]`; 0 for a bin without examples.

  Raises:
    ValueError: for another kernel, mode or order.

  Reference: Yang et al., Delving into Deep Imbalanced Regression, arXiv:2102.09554.
  """
  if mode not in MODES or order not in ORDERS:
    raise ValueError(f"mode='{mode}', order='{order}' are not among {MODES} and {ORDERS}")
  n = np.asarray(counts)
  density = n.astype(np.int64)
  if order == 'code':
    density = np.sqrt(n) if mode == 'sqrt_inv' else np.clip(density, LEAST, MOST)
  else:
    density = density.astype(float)
  if kernel is not None:
    from scipy import ndimage

    window = kernel_window(kernel, size, sigma)
    # of integers, the result is truncated to integers
    density = ndimage.convolve1d(density, weights=window / window.max(), mode='constant')
  if order == 'paper' and mode == 'sqrt_inv':
    density = np.sqrt(density)
  weights = np.where(n > 0, 1.0 / np.where(n > 0, density, 1), 0.0)
  return weights * n.sum() / (weights * n).sum() if n.any() else weights


def lds_weights(
  bins: ArrayLike,
  num_bins: int,
  kernel: str | None = None,
  size: int = 5,
  sigma: float = 2.0,
  mode: str = 'sqrt_inv',
  order: str = 'code',
) -> np.ndarray:
  """Returns the weight of each training example, see `bin_weights`.

  Args:
    bins: integer `[N]`, the bin of each example; bins below 0 or above the last count to the
      nearest.
    num_bins: number of bins.
    kernel: one of `KERNELS`, or None: not smoothed.
    size: bins of the window, odd.
    sigma: of the window, see `kernel_window`.
    mode: 'sqrt_inv' or 'inverse'.
    order: 'code' or 'paper'.

  Returns:
    float32 `[N]`, mean 1.
  """
  place = np.clip(np.asarray(bins, np.int64), 0, num_bins - 1)
  counts = np.bincount(place, minlength=num_bins)
  return bin_weights(counts, kernel, size, sigma, mode, order)[place].astype(np.float32)
