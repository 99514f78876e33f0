"""Long-tailed CIFAR-10 and CIFAR-100, prepared once and then read as arrays.

The sources of a set are, in this order: a prepared set in the cache, the original files in a folder
of the user, a download. A prepared set is a tfds data set with a copy in `resident.npz`, so that it
loads without tfds.
"""

from __future__ import annotations

import os
import pathlib
import tempfile

import numpy as np

from fass_jax.config.cache import cache_dir
from fass_jax.data.sets.cifar_set import Prepared, Spec, Split, check, is_prepared, prepared_dir
from fass_jax.types import Dataset, UserError

RESIDENT = 'resident.npz'


def load_cifar(
  base: int,
  *,
  imb_factor: float,
  profile: str = 'exp',
  subset_seed: int = 0,
  dir: str = '',
  cache: str = '',
  url: str = '',
  sha256: str = '',
  download: bool = True,
) -> Dataset:
  """Returns CIFAR-`base`-LT, from the cache, from `dir` or from a download.

  Class i has n_i = n_max * IF ** (-i / (C - 1)) images (`counts.class_counts`), selected by a
  seeded shuffle (`subset.long_tail_indices`); at IF 100, CIFAR-100-LT has 10,847 images and
  CIFAR-10-LT 12,406. The test set is complete.

  Args:
    base: 10 or 100.
    imb_factor: IF, the ratio of the largest to the smallest class, in [1, 500] for CIFAR-100.
    profile: 'exp', 'step' or 'balanced'.
    subset_seed: seed of the selection; the published sets use 0.
    dir: the unpacked original folder, or a folder that contains it or the original archive; it is
      only read.
    cache: folder for prepared sets and downloads; if empty, $FASS_JAX_CACHE or ~/.cache/fass_jax.
    url: address of the archive; if empty, the one registered in tfds.
    sha256: checksum of the archive; if empty, the one registered in tfds.
    download: True: the archive may be downloaded.

  Returns:
    Dataset: training images uint8 `[N, 32, 32, 3]` grouped by class, test images uint8
    `[10000, 32, 32, 3]`, labels and train_index int32.

  Raises:
    UserError: if an argument is invalid, or the data are missing or damaged.

  Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; Cao et al.,
  Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, arXiv:1906.07413.
  """
  spec = Spec(base, imb_factor, profile, subset_seed)
  check(spec)
  root = cache_dir(cache)
  folder = prepared_dir(spec, root)
  prepared = _read_resident(folder)
  if prepared is None:
    lt = _tfds_part(folder)
    if not is_prepared(folder):
      lt.prepare(spec, root, dir, url, sha256, download)
    prepared = lt.read_records(spec, root)
    _write_resident(folder, prepared)
  return Dataset(
    name=f'cifar{base}_lt',
    train_images=prepared.train.images,
    train_labels=prepared.train.labels,
    train_index=prepared.train.origin,
    test_images=prepared.test.images,
    test_labels=prepared.test.labels,
    class_names=prepared.class_names,
  )


def _tfds_part(folder: pathlib.Path):
  try:
    from fass_jax.data.sets import cifar_lt
  except ImportError as e:
    raise UserError(
      f'{folder} has no prepared set with an intact {RESIDENT}, and preparing one needs '
      f'tensorflow-datasets, which cannot be imported ({e}); pip install tensorflow-datasets '
      'importlib_resources array-record pillow.'
    ) from e
  return cifar_lt


def _read_resident(folder: pathlib.Path) -> Prepared | None:
  """Returns the copy in `resident.npz`, or None if it is missing or damaged."""
  path = folder / RESIDENT
  if not is_prepared(folder) or not path.is_file():
    return None
  try:
    # an open file, because np.load does not close a file by path that it cannot read
    with path.open('rb') as f, np.load(f, allow_pickle=False) as z:
      train = Split(z['images'], z['labels'], z['index'])
      test = Split(z['test'], z['test_labels'], np.arange(len(z['test_labels']), dtype=np.int32))
      names = tuple(str(n) for n in z['names'])
  except Exception:  # the file is only a copy, and the records have the same data
    return None
  for split in (train, test):
    shapes = split.images.shape[1:], split.labels.shape, split.origin.shape
    types = [x.dtype for x in split]
    n = len(split.labels)
    if shapes != ((32, 32, 3), (n,), (n,)) or types != [np.uint8, np.int32, np.int32]:
      return None
    if len(split.images) != n:
      return None
  return Prepared(train, test, names)


def _write_resident(folder: pathlib.Path, prepared: Prepared) -> None:
  """Writes `resident.npz` atomically, so that no process reads a partial file."""
  try:
    handle, tmp = tempfile.mkstemp(dir=folder, prefix=f'.{RESIDENT}.')
  except OSError:  # the records of a read-only cache are usable without this file
    return
  try:
    with os.fdopen(handle, 'wb') as f:
      np.savez(
        f,
        images=prepared.train.images,
        labels=prepared.train.labels,
        index=prepared.train.origin,
        test=prepared.test.images,
        test_labels=prepared.test.labels,
        names=np.asarray(prepared.class_names),
      )
    os.chmod(tmp, 0o644)  # mkstemp's 0600 would exclude other users of a shared cache
    os.replace(tmp, folder / RESIDENT)
  except BaseException:
    pathlib.Path(tmp).unlink(missing_ok=True)
    raise
