"""Images with a number each to predict: a user's list or folder, or AgeDB."""

from __future__ import annotations

import logging
import pathlib

import numpy as np
from ml_collections import ConfigDict

from fass_jax.data import numbers
from fass_jax.data.images.encoded import Paths
from fass_jax.data.sets import folder
from fass_jax.data.sets.folder import SIDE, File
from fass_jax.types import Dataset, UserError

log = logging.getLogger('fass_jax')

AGEDB = ('agedb.csv', 'agedb_dir.csv', 'agedb_dir.csv.gz', 'agedb.csv.gz')  # names of the list


def load_agedb(config: ConfigDict) -> Dataset:
  """Returns AgeDB with the published split: `data.dir` holds agedb.csv and the folder AgeDB/.

  The list has the columns age, path and split; paths are relative to `data.dir`. The images have
  no licence to redistribute: ask their authors (Moschoglou et al., AgeDB, CVPR Workshops 2017).

  Raises:
    UserError: if the list or an image is missing, or a label is no number or outside the bins.
  """
  place = pathlib.Path(config.data.dir).expanduser()
  found = [place / name for name in AGEDB if (place / name).is_file()]
  if not config.data.dir or not found:
    raise UserError(
      f'--config.data.dir={config.data.dir or "(not given)"} has no agedb.csv; give the folder '
      'with the list (age,path,split) and the images that it names.'
    )
  return _of_files(config, place, folder.listed(found[0], 'age'), 'agedb')


def load_numbers(config: ConfigDict) -> Dataset:
  """Returns the images of `data.root`: a list or CSV with a number per file, or folders of one.

  See `folder.load_folder` for the forms; a label is a number instead of a class.

  Raises:
    UserError: as in `folder.load_folder`, and for a label that is no number or outside the bins.
  """
  root = folder.root_of(config.data)
  files = folder.listed(root) if root.is_file() else folder.scanned(root, config.data.split)
  return _of_files(config, root, files, 'folder')


def _of_files(config: ConfigDict, root: pathlib.Path, files: list[File], name: str) -> Dataset:
  d = config.data
  places, what = [f.path for f in files], f'The list of {root}'
  values = dict(zip(places, numbers.read([f.label for f in files], places, what)))
  bins = numbers.bins_of(np.asarray(list(values.values())), places, what, d)
  good = folder.intact(root, files, d)
  if any(f.split for f in good):
    train, test = folder.split_files(root, good, d.split, d.val_share, d.subset_seed)
  else:
    parts = numbers.split(len(good), d.val_share, d.subset_seed)
    train, test = ([good[i] for i in part] for part in parts)
  if not train or not test:
    raise UserError(
      f'{root} has {len(train)} images for training and {len(test)} for testing; add images.'
    )
  y, z = (np.asarray([values[f.path] for f in part]) for part in (train, test))
  place = {f.path: i for i, f in enumerate(f for f in files if f.split in ('', 'train'))}
  log.info('%d images for training, %d for testing; %d bins.', len(y), len(z), bins.size)
  return Dataset(
    name=name,
    train_images=Paths(tuple(f.path for f in train), upright=True),
    train_labels=bins.of(y),
    train_index=np.asarray([place[f.path] for f in train], np.int32),
    test_images=Paths(tuple(f.path for f in test), upright=True),
    test_labels=bins.of(z),
    class_names=bins.names(),
    side=d.image_size or SIDE,
    train_values=y.astype(np.float32),
    test_values=z.astype(np.float32),
  )
