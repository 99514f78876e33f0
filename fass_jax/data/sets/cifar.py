"""Long-tailed CIFAR-10 and CIFAR-100, prepared once and then read as one array.

A set is looked for in this order: a prepared set in the cache, the original files in a folder of
the user, a download. A prepared set is a tfds data set with a plain `resident.npz` beside it, so
that it loads without tfds.
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
  """Return CIFAR-`base`-LT, from the cache, from `dir` or from a download.

  The images of class i are n_i = n_max * IF ** (-i / (C - 1)) (`subset.class_counts`) out of a
  seeded shuffle (`subset.long_tail_indices`); CIFAR-100 at IF 100 has 10,847, CIFAR-10 12,406.
  The whole test set is kept.

  Args:
    base: 10 or 100.
    imb_factor: largest class over smallest class, in [1, 500] for CIFAR-100.
    profile: 'exp', 'step' or 'balanced'.
    subset_seed: which images are kept; the published sets use 0.
    dir: folder that holds the original archive or the unpacked folder, or is that folder; it is
      only read.
    cache: folder for prepared sets and downloads, $FASS_JAX_CACHE or ~/.cache/fass_jax if empty.
    url: address of the archive instead of the one that tfds registers.
    sha256: check sum that the download must have instead of the one that tfds registers.
    download: whether the archive may be fetched from the network.

  Returns:
    Dataset: images uint8 [N, 32, 32, 3] grouped by class and [10000, 32, 32, 3], labels and
    train_index int32.

  Raises:
    UserError: a bad argument, no data, or data that are damaged.

  Reference: Krizhevsky, technical report, University of Toronto 2009; Cao et al., NeurIPS 2019.
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
      f'{folder} holds no prepared set with a whole {RESIDENT}, and making one needs '
      f'tensorflow-datasets, which cannot be imported ({e}); pip install tensorflow-datasets '
      'importlib_resources array-record pillow.'
    ) from e
  return cifar_lt


def _read_resident(folder: pathlib.Path) -> Prepared | None:
  """Return the plain copy; None if there is none, or none that is whole."""
  path = folder / RESIDENT
  if not is_prepared(folder) or not path.is_file():
    return None
  try:
    # An open file, not a path: np.load forgets to close one that it opened and cannot read.
    with path.open('rb') as f, np.load(f, allow_pickle=False) as z:
      train = Split(z['images'], z['labels'], z['index'])
      test = Split(z['test'], z['test_labels'], np.arange(len(z['test_labels']), dtype=np.int32))
      names = tuple(str(n) for n in z['names'])
  except Exception:  # whatever is wrong with this copy, the records beside it are the data
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
  """Write the plain copy in one step, so that nobody ever reads half of it."""
  try:
    handle, tmp = tempfile.mkstemp(dir=folder, prefix=f'.{RESIDENT}.')
  except OSError:  # a cache that is read-only for this user still serves its records
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
    os.chmod(tmp, 0o644)  # mkstemp's 0600 would shut out whoever shares the cache
    os.replace(tmp, folder / RESIDENT)
  except BaseException:
    pathlib.Path(tmp).unlink(missing_ok=True)
    raise
