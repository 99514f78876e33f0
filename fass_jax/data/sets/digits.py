"""Long-tailed handwritten digits from scikit-learn: small, real and needs no download."""

from __future__ import annotations

import importlib.util
import pathlib

import numpy as np

from fass_jax.counts import class_counts
from fass_jax.data.sets.subset import long_tail_indices
from fass_jax.types import Dataset, UserError

CLASSES = 10
TEST_PER_CLASS = 60
N_MAX = 114  # the rarest digit has 174 images, 60 of them are test images


def load_digits(imb_factor: float = 20.0, profile: str = 'exp', subset_seed: int = 0) -> Dataset:
  """Return the long-tailed digits: 1,797 real 8x8 images less the unused ones.

  pixel = round(x * 255 / 16) for x in 0 .. 16, in three equal channels. Of each class 60 images,
  the same for every argument, are the test set; the training images are drawn from the rest with
  `class_counts(114, 10, imb_factor, profile)`.

  Args:
    imb_factor: largest class over smallest class, in [1, 114]; 20 gives 383 training images.
    profile: 'exp', 'step' or 'balanced'.
    subset_seed: which training images are kept.

  Returns:
    Dataset 'digits_lt': images uint8 [N, 8, 8, 3] and [600, 8, 8, 3], labels int32 in 0 .. 9,
    train_index int32 in 0 .. 1796.

  Raises:
    UserError: scikit-learn is not installed, or a bad factor or profile.

  Reference: Alpaydin and Kaynak, UCI Machine Learning Repository 1998.
  """
  counts = class_counts(N_MAX, CLASSES, imb_factor, profile)
  values, labels = _read()
  grey = np.round(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
  images = np.repeat(grey[..., None], 3, axis=-1)
  # The split is a part of the data set: its stream is fixed and apart from `subset_seed`.
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
  """Returns the pixels, float64 `[1797, 64]` of 0 .. 16, and the labels, int32 `[1797]`.

  Reads scikit-learn's file itself where it lies: to import scikit-learn takes a second.
  """
  found = importlib.util.find_spec('sklearn')
  if found is None:
    raise UserError(
      'The digits come with scikit-learn, which is not installed; pip install scikit-learn.'
    )
  for folder in found.submodule_search_locations or ():
    path = pathlib.Path(folder) / 'datasets' / 'data' / 'digits.csv.gz'
    if path.exists():
      rows = np.loadtxt(path, delimiter=',')
      return rows[:, :-1], rows[:, -1].astype(np.int32)
  from sklearn import datasets

  bunch = datasets.load_digits()
  return bunch.data, bunch.target.astype(np.int32)
