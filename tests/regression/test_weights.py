"""LDS: windows of the sheet, weights against loops, and what the published program rounds."""

import numpy as np
import pytest
from scipy import ndimage

from fass_jax.regression import bin_weights, kernel_window, lds_weights

ORDERS = ('code', 'paper')


def test_windows_by_hand():
  flat = [0.1863, 0.2052, 0.2170, 0.2052, 0.1863]
  np.testing.assert_allclose(kernel_window('gaussian', 5, 2), flat, atol=5e-5)
  # so wide that nothing is reflected: the true Gaussian
  i = np.arange(-4, 5)
  true = np.exp(-0.5 * i**2)
  np.testing.assert_allclose(kernel_window('gaussian', 9, 1), true / true.sum(), atol=2e-4)
  np.testing.assert_allclose(kernel_window('triang', 5, 2), np.array([1, 2, 3, 2, 1]) / 9)
  laplace = np.exp([-1, -0.5, 0, -0.5, -1])
  np.testing.assert_allclose(kernel_window('laplace', 5, 2), laplace / laplace.sum())
  for kernel in ('gaussian', 'triang', 'laplace'):
    np.testing.assert_allclose(kernel_window(kernel, 1, 2), [1.0])


def test_the_gaussian_reflects_its_ends():
  """By hand: the truncated Gaussian, whose tails are folded back at the ends of the window."""
  sigma, size = 2.0, 5
  want = np.zeros(size)
  for j in range(-8, 9):  # SciPy cuts at four sigma
    place = (size // 2 + j) % (2 * size)
    want[min(place, 2 * size - 1 - place)] += np.exp(-0.5 * (j / sigma) ** 2)
  np.testing.assert_allclose(kernel_window('gaussian', size, sigma), want / want.sum(), rtol=1e-12)


@pytest.mark.parametrize('wrong', [('box', 5, 2), ('triang', 4, 2), ('gaussian', 5, 0)])
def test_windows_that_are_none(wrong):
  with pytest.raises(ValueError):
    kernel_window(*wrong)


def by_hand(bins, num_bins, kernel, size, sigma, mode, order):
  """The definition in loops."""
  n = [int(np.sum(bins == b)) for b in range(num_bins)]
  if order == 'code':
    n = [x**0.5 if mode == 'sqrt_inv' else min(max(x, 5), 1000) for x in n]
  if kernel:
    k = kernel_window(kernel, size, sigma)
    k, half = k / max(k), size // 2
    smooth = [
      sum(k[j + half] * n[b + j] for j in range(-half, half + 1) if 0 <= b + j < num_bins)
      for b in range(num_bins)
    ]
    truncated = order == 'code' and mode == 'inverse'
    n = [int(x + 1e-9) if truncated else x for x in smooth]
  root = order == 'paper' and mode == 'sqrt_inv'
  w = np.array([1 / (n[b] ** 0.5 if root else n[b]) for b in bins])
  return w / w.mean()


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('mode', ['sqrt_inv', 'inverse'])
@pytest.mark.parametrize('kernel', [None, 'gaussian', 'triang', 'laplace'])
def test_weights_against_loops(kernel, mode, order):
  rng = np.random.default_rng(0)
  # some bins empty, some with more than a thousand
  bins = np.minimum(rng.geometric(0.2, 6000) - 1, 30)
  how = kernel, 7, 1.5, mode, order
  got = lds_weights(bins, 40, *how)
  np.testing.assert_allclose(got, by_hand(bins, 40, *how), rtol=1e-6)
  assert got.mean() == pytest.approx(1.0, abs=1e-6)


def test_no_window_and_a_window_of_one_bin():
  bins = np.repeat([0, 1, 2], [900, 100, 9])
  want = np.repeat([1 / 30, 1 / 10, 1 / 3], [900, 100, 9])
  for order in ORDERS:
    np.testing.assert_allclose(
      lds_weights(bins, 3, None, 5, 2, 'sqrt_inv', order), want / want.mean(), rtol=1e-6
    )
    np.testing.assert_allclose(
      lds_weights(bins, 3, 'gaussian', 1, 2, 'sqrt_inv', order), want / want.mean(), rtol=1e-6
    )


def test_inverse_is_truncated_with_a_window_and_bounded_in_code():
  # counts 2, 7, 2000 become 5, 7, 1000; k = (1/2, 1, 1/2): 8.5, 509.5, 1003.5 lose their half
  bins = np.repeat([0, 1, 2], [2, 7, 2000])
  want = np.repeat([1 / 8, 1 / 509, 1 / 1003], [2, 7, 2000])
  np.testing.assert_allclose(
    lds_weights(bins, 3, 'triang', 3, 1, 'inverse', 'code'), want / want.mean(), rtol=1e-6
  )
  want = np.repeat([1 / 5, 1 / 7, 1 / 1000], [2, 7, 2000])
  np.testing.assert_allclose(
    lds_weights(bins, 3, None, 3, 1, 'inverse', 'code'), want / want.mean(), rtol=1e-6
  )
  want = np.repeat([1 / 5.5, 1 / 1008, 1 / 2003.5], [2, 7, 2000])
  np.testing.assert_allclose(
    lds_weights(bins, 3, 'triang', 3, 1, 'inverse', 'paper'), want / want.mean(), rtol=1e-6
  )


def test_the_orders_differ_and_bins_beyond_the_ends_count_to_the_nearest():
  bins = np.repeat([0, 1, 5, 6], [100, 1, 1, 1])
  code, paper = (lds_weights(bins, 8, 'gaussian', 5, 2, 'sqrt_inv', o) for o in ORDERS)
  assert np.abs(code - paper).max() > 0.1
  far = np.where(bins == 0, -3, np.where(bins == 6, 11, bins))
  near = np.where(bins == 6, 7, bins)
  np.testing.assert_array_equal(lds_weights(far, 8, 'laplace'), lds_weights(near, 8, 'laplace'))


def test_a_rare_label_near_a_frequent_one_is_not_rare():
  """Why labels are smoothed: two bins of 4 examples, of which one has neighbours."""
  counts = np.array([300, 4, 300, 0, 0, 0, 0, 0, 4])
  plain, smooth = bin_weights(counts), bin_weights(counts, 'gaussian')
  assert plain[1] == plain[8] and smooth[8] > 2 * smooth[1]
  assert smooth[3] == 0 and (smooth * counts).sum() == pytest.approx(counts.sum())
  assert not bin_weights(np.zeros(3, int)).any()


def test_wrong_words():
  for how in ({'mode': 'square'}, {'order': 'both'}, {'kernel': 'box'}):
    with pytest.raises(ValueError):
      lds_weights(np.array([0, 1]), 2, **how)


def test_scipy_truncates_as_the_formula_says():
  """Thirds that add up to a whole number: the sum is not one below it."""
  counts = np.array([5, 7, 9, 30, 6, 6, 6])
  window = np.array([1, 2, 3, 2, 1]) / 3
  got = ndimage.convolve1d(counts, weights=window, mode='constant')
  padded = np.pad(counts * 3, 2) // 3
  want = [(padded[i : i + 5] * [1, 2, 3, 2, 1]).sum() // 3 for i in range(7)]
  np.testing.assert_array_equal(got, want)
