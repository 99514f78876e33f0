"""A user's own images: a folder with one subfolder per class, or a list or CSV of image files."""

from __future__ import annotations

import collections
import hashlib
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fass_jax.config.cache import cache_dir
from fass_jax.data.images import checks, lists
from fass_jax.data.images.encoded import Paths
from fass_jax.types import Dataset, UserError

log = logging.getLogger('fass_jax')

SIDE = 224
ENDS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff')
HELD = {'val': ('val', 'valid', 'validation'), 'test': ('test',)}


class File(NamedTuple):
  """An image file."""

  path: str
  label: str
  split: str  # 'train', 'val', 'test'; '': the images have no split


def load_folder(config: ConfigDict) -> Dataset:
  """Returns the images of `data.root`; folders or a list define the classes.

  `root` may be a folder with `<class>/**/*.jpg` (and other formats), or with `train/<class>/..` and
  `val/<class>/..` or `test/<class>/..`. It may also be a list of lines `path label`, or a CSV with
  the columns `path`, `label` and optionally `split`; paths are relative to the list's folder. If
  the images have no split, `data.val_share` of each class is held out for testing, see `hold_out`.
  The EXIF orientation of photos is applied.

  Args:
    config: the config; reads `root`, `split`, `val_share`, `subset_seed`, `max_broken`, `workers`,
      `cache` and `image_size` of the section `data`.

  Returns:
    Dataset of `encoded.Paths`, sorted by path; labels and train_index int32 (position among all
    training files, broken files included).

  Raises:
    UserError: if the folder does not exist, has fewer than two classes or a class without images,
      or a file is not readable for this user, or too many files are broken.
  """
  d = config.data
  root = root_of(d)
  files = listed(root) if root.is_file() else scanned(root, d.split)
  train, test = split_files(root, intact(root, files, d), d.split, d.val_share, d.subset_seed)
  labels, names = _classes(files, train, root)
  number = {name: i for i, name in enumerate(names)}
  place = {f.path: i for i, f in enumerate(f for f in files if f.split in ('', 'train'))}
  data = Dataset(
    name='folder',
    train_images=Paths(tuple(f.path for f in train), upright=True),
    train_labels=labels,
    train_index=np.asarray([place[f.path] for f in train], np.int32),
    test_images=Paths(tuple(f.path for f in test), upright=True),
    test_labels=np.asarray([number[f.label] for f in test], np.int32),
    class_names=names,
    side=d.image_size or SIDE,
  )
  log.info('%s', report(data))
  return data


def root_of(d: ConfigDict) -> pathlib.Path:
  """Returns the folder or list that the section `data` names; refuses one that is not there."""
  root = pathlib.Path(d.root).expanduser()
  if d.shrink:
    raise UserError(
      '--config.data.shrink has no effect on a folder, because its images are not copied; remove '
      'this flag.'
    )
  if not d.root:
    raise UserError(
      'A folder of images needs --config.data.root=DIR, a folder with one subfolder per class, or '
      '--config.data.root=FILE, a list or CSV of paths and labels.'
    )
  if root.exists():
    return root
  raise UserError(f'--config.data.root={d.root} does not exist; give a folder or a list.')


def intact(root: pathlib.Path, files: list[File], d: ConfigDict) -> list[File]:
  """Returns the files below a folder that can be decoded; `d` is the section `data`."""
  memory = checks.memory_of(root, cache_dir(d.cache))
  broken = checks.check_files([file.path for file in files], memory, d.workers)
  checks.leave_out(broken, len(files), d.max_broken, memory / checks.BROKEN)
  return [file for file in files if file.path not in broken]


def _walk(top: str | pathlib.Path) -> Iterator[str]:
  """Yields all files below a folder, sorted; follows links to folders, but never in a cycle."""

  def stop(error: OSError) -> None:
    raise UserError(
      f'The folder {error.filename} cannot be read ({error.strerror}); make it readable.'
    ) from error

  seen = set()
  for folder, inner, names in os.walk(top, onerror=stop, followlinks=True):
    real = os.path.realpath(folder)
    inner[:] = [] if real in seen else sorted(n for n in inner if not n.startswith('.'))
    if real not in seen:
      yield from (os.path.join(folder, name) for name in sorted(names))
    seen.add(real)


def find_images(top: pathlib.Path) -> list[str]:
  """Returns the paths of all files below a folder with the extension of an image, sorted.

  Raises:
    UserError: if a folder cannot be read.
  """
  return [path for path in _walk(str(top)) if _is_image(path, collections.Counter())]


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
  try:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith('.'))
  except OSError as error:
    raise UserError(
      f'The folder {root} cannot be read ({error.strerror}); make it readable.'
    ) from error


def _parts(root: pathlib.Path, split: str) -> dict[str, pathlib.Path]:
  """Returns the folder of each split, or the root as the split ''."""
  inner = {p.name.lower(): p for p in _folders(root)}
  if 'train' not in inner or not _folders(inner['train']):
    return {'': root}
  held = {s: inner[n] for s, names in HELD.items() for n in names if n in inner}
  if held:
    chosen = split if split in held else next(iter(held))
    return {'train': inner['train'], chosen: held[chosen]}
  # other folders next to 'train' are classes, so 'train' is a class too
  return {'': root} if len(inner) > 1 else {'': inner['train']}


def scanned(root: pathlib.Path, split: str = 'test') -> list[File]:
  """Returns the image files in the class folders."""
  files, ignored = [], collections.Counter[str]()
  for part, top in _parts(root, split).items():
    classes = _folders(top)
    if not classes:
      raise UserError(
        f'{top} has no folders; put the images of each class into a folder with the name of the '
        'class.'
      )
    for folder in classes:
      found = [File(path, folder.name, part) for path in _walk(folder) if _is_image(path, ignored)]
      if not found and part in ('', 'train'):
        raise UserError(
          f"The class '{folder.name}' has no image in {folder} ({', '.join(ENDS)}); put images "
          'there, or remove the folder.'
        )
      files += found
  if ignored:
    log.info('Ignored: %s', ', '.join(f'{n} {what}' for what, n in sorted(ignored.items())))
  return files


def _is_image(path: str, ignored: collections.Counter[str]) -> bool:
  name = os.path.basename(path)
  if name.startswith('.'):
    ignored['hidden files'] += 1
  elif not name.lower().endswith(ENDS):
    ignored[f'files *{os.path.splitext(name)[1].lower() or " without an extension"}'] += 1
  else:
    return True
  return False


def listed(path: pathlib.Path, column: str = 'label') -> list[File]:
  """Returns the image files of a list or CSV; `column` of a CSV holds the labels."""
  listing = lists.read_list(path, words=True, column=column)
  if len(set(map(bool, listing.splits))) > 1:
    raise UserError(f'{path}: some lines have no split; fill in that column in every line.')
  if 'train' not in listing.splits and any(listing.splits):
    raise UserError(f"{path}: no line has the split 'train'; add training images to the list.")
  files = [
    File(os.path.join(path.parent, name), label, split)
    for name, label, split in zip(*listing, strict=True)
  ]
  missing = [f.path for f in files if not os.path.exists(f.path)]
  if missing:
    raise UserError(
      f'{path}: {len(missing)} of {len(files)} files do not exist, e.g. {missing[0]}; paths must '
      'be relative to the folder of the list.'
    )
  return sorted(files)


def split_files(
  root: pathlib.Path, files: list[File], split: str, share: float, seed: int
) -> tuple[list[File], list[File]]:
  """Returns the training files and the test files, see `load_folder`."""
  parts = {file.split for file in files}
  if parts == {''}:
    return hold_out(root, files, share, seed)
  held = [s for s in (split, 'test', 'val') if s in parts]
  if not held:
    raise UserError(f'{root} has no intact test or val image; add images, or remove the split.')
  if held[0] != split:
    log.info("There are no '%s' images, so the run is evaluated on '%s'", split, held[0])
  return [f for f in files if f.split == 'train'], [f for f in files if f.split == held[0]]


def hold_out(
  root: pathlib.Path, files: list[File], share: float, seed: int
) -> tuple[list[File], list[File]]:
  """Returns training and test files: round(share * n) of the n images per class for testing.

  At least 1 image per class is held out and at least 1 is a training image, so a class with one
  image has no test image. The held-out images are those with the smallest sha256 of seed and path
  below `root`, so that the choice depends neither on the disk nor much on other images.

  Raises:
    UserError: if the share is not in (0, 1), or no class has two images.
  """
  if not 0 < share < 1:
    raise UserError(f'--config.data.val_share={share:g} is not between 0 and 1.')
  base = root.parent if root.is_file() else root
  classes: dict[str, list[File]] = {}
  for file in files:
    classes.setdefault(file.label, []).append(file)

  def rank(file: File) -> bytes:
    inside = os.path.relpath(file.path, base).replace(os.sep, '/')
    return hashlib.sha256(f'{seed}/{inside}'.encode()).digest()

  held = set()
  for group in classes.values():
    n = len(group)
    take = min(max(1, round(share * n)), n - 1)
    held |= {file.path for file in sorted(group, key=rank)[:take]}
  alone = [label for label, group in classes.items() if len(group) == 1]
  if alone:
    log.info(
      '%d classes have only one image, which is used for training, so they have no test image: '
      '%s%s',
      len(alone),
      ', '.join(alone[:10]),
      ' ...' if len(alone) > 10 else '',
    )
  if not held:
    raise UserError(
      f'{root}: no class has two images, so no test image can be held out; add images.'
    )
  return [f for f in files if f.path not in held], [f for f in files if f.path in held]


def _classes(
  files: list[File], train: list[File], root: pathlib.Path
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns the training labels and the names of the classes."""
  _, names = lists.numbered([f.label for f in files])
  trained = {f.label for f in train}
  empty = [name for name in names if name not in trained]
  if empty:
    raise UserError(
      f"The class '{empty[0]}' of {root} has no intact training image; add images, or remove the "
      'class.'
    )
  if len(names) < 2:
    raise UserError(f"{root} has only one class, '{names[0]}'; classification needs two or more.")
  number = {name: i for i, name in enumerate(names)}
  return np.asarray([number[f.label] for f in train], np.int32), names


def report(data: Dataset) -> str:
  """Returns a table of class counts: all classes, or above 20 the five largest and smallest."""
  counts = np.bincount(data.train_labels, minlength=len(data.class_names))
  tests = np.bincount(data.test_labels, minlength=len(data.class_names))
  order = np.argsort(-counts, kind='stable')
  wide = max(len(name) for name in data.class_names)
  rows = [f'  {data.class_names[c]:<{wide}}  {counts[c]:>7}  {tests[c]:>6}' for c in order]
  if len(rows) > 20:
    rows = [*rows[:5], f'  ... {len(rows) - 10} more', *rows[-5:]]
  return '\n'.join(
    [
      f'  {"class":<{wide}}  {"train":>7}  {"test":>6}',
      *rows,
      f'{len(counts)} classes, {counts.sum()} training images, {tests.sum()} test images, '
      f'imbalance factor {counts.max() / max(int(counts.min()), 1):.3g}',
    ]
  )
