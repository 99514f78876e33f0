"""The digits: sizes, scaling, a split that is fixed, and the subset rule on top."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets

from fass_jax.data.sets import digits
from fass_jax.data.sets.digits import load_digits
from fass_jax.types import UserError


def test_default_set():
  d = load_digits()
  assert d.name == 'digits_lt'
  assert d.class_names == ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
  assert d.train_images.shape == (383, 8, 8, 3) and d.train_images.dtype == np.uint8
  assert d.test_images.shape == (600, 8, 8, 3) and d.test_images.dtype == np.uint8
  assert d.train_labels.dtype == d.test_labels.dtype == d.train_index.dtype == np.int32
  assert np.bincount(d.train_labels).tolist() == [114, 81, 58, 41, 30, 21, 15, 11, 7, 5]
  assert np.bincount(d.test_labels).tolist() == [60] * 10


def test_pixels_are_those_of_the_original():
  d, raw = load_digits(), datasets.load_digits()
  assert (raw.target[d.train_index] == d.train_labels).all()
  table = np.array([0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255])
  want = table[raw.images[d.train_index].astype(int)]
  for channel in range(3):
    assert (d.train_images[..., channel] == want).all()


def test_the_file_holds_what_scikit_learn_returns(monkeypatch):
  read, raw = digits._read(), datasets.load_digits()
  monkeypatch.setattr(pathlib.Path, 'exists', lambda path: False)  # another place in a new version
  for pixels, labels in (read, digits._read()):
    np.testing.assert_array_equal(pixels, raw.data)
    np.testing.assert_array_equal(labels, raw.target)
    assert pixels.dtype == np.float64 and labels.dtype == np.int32


def test_test_images_are_fixed_and_never_trained_on():
  a, b = load_digits(), load_digits(1.0, 'balanced', subset_seed=3)
  assert (a.test_images == b.test_images).all()
  assert len(set(b.train_index)) == 1140
  seen = {x.tobytes() for x in b.train_images}
  assert not seen & {x.tobytes() for x in b.test_images}


def test_seed_changes_the_subset():
  a, b = load_digits(), load_digits(subset_seed=1)
  assert not np.array_equal(a.train_index, b.train_index)
  assert (a.train_labels == b.train_labels).all()


def test_bad_factor():
  with pytest.raises(UserError, match='smaller factor'):
    load_digits(500.0)


@pytest.mark.process
def test_scikit_learn_is_imported_late_and_named_if_missing():
  code = (
    'import sys; import fass_jax.data.sets.digits as d; assert "sklearn" not in sys.modules\n'
    'sys.modules["sklearn"] = None\n'
    'try: d.load_digits()\n'
    'except d.UserError as e: print(e)'
  )
  out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert 'pip install scikit-learn' in out.stdout
