"""Long-tailed handwritten digits from scikit-learn: a small set of real images without download."""

from __future__ import annotations

import importlib.util
import pathlib

import numpy as np

from fass_jax.counts import class_counts
from fass_jax.data.sets.subset import long_tail_indices
from fass_jax.types import Dataset, UserError

CLASSES = 10
TEST_PER_CLASS = 60
N_MAX = 114  # the smallest class has 174 images, of which 60 are test images


def load_digits(imb_factor: float = 20.0, profile: str = 'exp', subset_seed: int = 0) -> Dataset:
  """Returns the long-tailed digits, a subset of 1,797 real images of 8 x 8 pixels.

  pixel = round(x * 255 / 16) for x in 0 .. 16, in three equal channels. The test set is 60 images
  per class, independent of the arguments; the training images are drawn from the other images with
  `class_counts(114, 10, imb_factor, profile)`.

  Args:
    imb_factor: ratio of the largest to the smallest class, in [1, 114]; 20 gives 383 training
      images.
    profile: 'exp', 'step' or 'balanced'.
    subset_seed: seed of the selection of training images.

  Returns:
    Dataset 'digits_lt': training images uint8 `[N, 8, 8, 3]`, test images uint8 `[600, 8, 8, 3]`,
    labels int32 in 0 .. 9, train_index int32 in 0 .. 1796.

  Raises:
    UserError: if scikit-learn is not installed, or the factor or profile is invalid.

  Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
  Repository 1998, doi:10.24432/C50P49.
  """
  counts = class_counts(N_MAX, CLASSES, imb_factor, profile)
  values, labels = _read()
  grey = np.round(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
  images = np.repeat(grey[..., None], 3, axis=-1)
  # the test split is a part of the data set: its seed is fixed, whatever `subset_seed` is
  rng = np.random.RandomState(0)
  test = np.concatenate(
    [rng.permutation(np.flatnonzero(labels == c))[:TEST_PER_CLASS] for c in range(CLASSES)]
  )
  pool = np.setdiff1d(np.arange(len(labels)), test)
  index = pool[long_tail_indices(labels[pool], counts, subset_seed)]
  return Dataset(
    name='digits_lt',
    train_images=images[index],
    train_labels=labels[index],
    train_index=index.astype(np.int32),
    test_images=images[test],
    test_labels=labels[test],
    class_names=tuple(str(c) for c in range(CLASSES)),
  )


def _read() -> tuple[np.ndarray, np.ndarray]:
  """Returns the pixels, float64 `[1797, 64]` in 0 .. 16, and the labels, int32 `[1797]`.

  This reads the data file in scikit-learn directly, because importing scikit-learn takes a second.
  """
  found = importlib.util.find_spec('sklearn')
  if found is None:
    raise UserError(
      'The digits are a part of scikit-learn, which is not installed; pip install scikit-learn.'
    )
  for folder in found.submodule_search_locations or ():
    path = pathlib.Path(folder) / 'datasets' / 'data' / 'digits.csv.gz'
    if path.exists():
      rows = np.loadtxt(path, delimiter=',')
      return rows[:, :-1], rows[:, -1].astype(np.int32)
  from sklearn import datasets

  bunch = datasets.load_digits()
  return bunch.data, bunch.target.astype(np.int32)
