"""CIFAR-LT as a tfds data set: a builder without TensorFlow, the download and a reader.

This module is imported only to prepare a set or to read its records; `cifar.py` reads a prepared
set without it.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fass_jax.counts import class_counts
from fass_jax.data.images.fetch import DownloadError, fetch, quiet
from fass_jax.data.sets import cifar_files, cifar_set, subset
from fass_jax.types import UserError

# the archives registered in tfds for cifar10 and cifar100
_HOST = 'https://www.cs.toronto.edu/~kriz'
URLS = {
  10: f'{_HOST}/cifar-10-binary.tar.gz',
  100: f'{_HOST}/cifar-100-binary.tar.gz',
}
SHA256 = {
  10: 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
  100: '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
}

# the fields of tfds' base class have defaults, so these fields need defaults too
_DEFAULT = cifar_set.Spec(100, 100.0)


@dataclasses.dataclass(eq=False)
class CifarLtConfig(tfds.core.BuilderConfig):
  """One long-tailed set and its original files."""

  spec: cifar_set.Spec = _DEFAULT
  source: str = ''  # unpacked folder or archive; only needed to prepare the set


class CifarLt(tfds.core.GeneratorBasedBuilder):
  """Long-tailed CIFAR as a tfds data set; build it with `file_format='array_record'`.

  Features: image (PNG, uint8 [32, 32, 3]), label, index (position in the original file order).
  Splits: train, test. Records are not shuffled.

  Reference: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
  arXiv:1906.07413.
  """

  VERSION = tfds.core.Version(cifar_set.VERSION)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Long-tailed CIFAR with the images of LDAM-DRW.',
      supervised_keys=('image', 'label'),
      disable_shuffling=True,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=(32, 32, 3), encoding_format='png'),
          'label': tfds.features.ClassLabel(num_classes=self.builder_config.spec.base),
          'index': np.int32,
        }
      ),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
    del dl_manager  # `prepare` has found or downloaded the files
    spec = self.builder_config.spec
    full = cifar_files.read_original(spec.base, self.builder_config.source)
    n_max = int(np.bincount(full.train_labels).max())
    counts = class_counts(n_max, spec.base, spec.imb_factor, spec.profile)
    train = subset.long_tail_indices(full.train_labels, counts, spec.subset_seed)
    self.info.features['label'].names = list(full.class_names)
    return {
      'train': self._generate_examples(full.train_images, full.train_labels, train),
      'test': self._generate_examples(
        full.test_images, full.test_labels, np.arange(len(full.test_labels))
      ),
    }

  def _generate_examples(
    self, images: np.ndarray, labels: np.ndarray, index: np.ndarray
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    for key, i in enumerate(index.tolist()):
      png = io.BytesIO()
      Image.fromarray(images[i]).save(png, 'png')
      png.seek(0)
      yield key, {'image': png, 'label': int(labels[i]), 'index': i}


def prepare(
  spec: cifar_set.Spec, root: pathlib.Path, folder: str, url: str, sha256: str, download: bool
) -> None:
  """Writes the set as ArrayRecord files below the cache `root`.

  tfds writes to a temporary folder and renames it at the end, so an interrupted call leaves no
  prepared set.

  Args:
    spec: the set.
    root: the cache; downloaded archives are stored in its folder 'downloads'.
    folder: the user's folder with the original files, or ''.
    url: address of the archive; if empty, the registered one.
    sha256: checksum of the archive; if empty, the registered one.
    download: True: download the archive if `folder` has none.

  Raises:
    UserError: if the data are missing or damaged, the checksum is wrong, or the cache cannot be
      written.
  """
  target = cifar_set.prepared_dir(spec, root)
  source = cifar_files.find_original(spec.base, folder) if folder else None
  if source is None and not download:
    raise _no_data(spec.base, root, folder, 'downloading is switched off')
  try:
    with quiet():
      source = source or _fetch(spec.base, root / 'downloads', url, sha256)
      config = CifarLtConfig(name=spec.config_name, spec=spec, source=str(source))
      _builder(config, root).download_and_prepare(
        download_dir=root / 'downloads',
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
      )
  except DownloadError as e:
    raise _no_data(spec.base, root, folder, str(e)) from e
  except OSError as e:
    # if two runs prepare the same set at once, the first to finish wins, and both can continue
    if not cifar_set.is_prepared(target):
      raise UserError(
        f'The set could not be prepared in the cache {root} ({e}); free disk space there or give '
        'another folder with --config.data.cache=DIR.'
      ) from e
  if not cifar_set.is_prepared(target):
    raise _damaged(target, 'it has no dataset_info.json')


def read_records(spec: cifar_set.Spec, root: pathlib.Path) -> cifar_set.Prepared:
  """Returns a prepared set from its ArrayRecord files.

  Raises:
    UserError: if the files are damaged.
  """
  folder = cifar_set.prepared_dir(spec, root)
  try:
    with quiet():
      builder = _builder(CifarLtConfig(name=spec.config_name, spec=spec), root)
      train, test = (_read_split(builder, name) for name in ('train', 'test'))
      names = tuple(builder.info.features['label'].names)
  except Exception as e:  # other packages raise many exception types for damaged files
    raise _damaged(folder, f'its records cannot be read: {e}') from e
  return cifar_set.Prepared(train, test, names)


def _read_split(builder: CifarLt, name: str) -> cifar_set.Split:
  # decode here, because tfds prefers OpenCV and warns if it is missing
  source = builder.as_data_source(name, decoders={'image': tfds.decode.SkipDecoding()})
  n = len(source)
  if n != builder.info.splits[name].num_examples:
    raise ValueError(f'{n} records in split {name}')
  images = np.empty((n, 32, 32, 3), np.uint8)
  labels, index = np.empty(n, np.int32), np.empty(n, np.int32)
  for start in range(0, n, 1000):
    rows = source.__getitems__(range(start, min(start + 1000, n)))
    for i, row in enumerate(rows, start):
      images[i] = np.asarray(Image.open(io.BytesIO(row['image'])))
      labels[i], index[i] = row['label'], row['index']
  return cifar_set.Split(images, labels, index)


def _builder(config: CifarLtConfig, root: pathlib.Path) -> CifarLt:
  return CifarLt(config=config, data_dir=root, file_format='array_record')


def _fetch(base: int, store: pathlib.Path, url: str, sha256: str) -> pathlib.Path:
  """Returns the archive in the folder `store`; downloads it if it is missing."""
  url, want = url or URLS[base], (sha256 or SHA256[base]).lower()
  mend = 'give the address and checksum with --config.data.url=URL and --config.data.sha256=SUM'
  return fetch(url, want, store, url.rsplit('/', 1)[-1], mend)


def _damaged(folder: pathlib.Path, what: str) -> UserError:
  return UserError(
    f'The prepared set {folder} is damaged ({what}); delete that folder, and the next run prepares '
    'it again.'
  )


def _no_data(base: int, root: pathlib.Path, folder: str, reason: str) -> UserError:
  layouts = cifar_files.LAYOUTS[base]
  names = [f'{x.folder}/' for x in layouts] + [x.archive for x in layouts]
  if not folder:
    where = 'no folder with original files was given'
  elif not pathlib.Path(folder).expanduser().is_dir():
    where = f'the folder {folder} does not exist'
  else:
    where = f'{folder} contains none of {", ".join(names)}'
  return UserError(
    f'CIFAR-{base} was not found: the cache {root} has no such prepared set, {where}, and '
    f'{reason}; put {layouts[0].archive} or {layouts[1].archive} into a folder and give it with '
    '--config.data.dir=DIR, or start with network access so that it is downloaded.'
  )
