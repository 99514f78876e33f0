"""Reads lists of images and labels, and describes the lists of published long-tailed sets."""

from __future__ import annotations

import csv
import gzip
import hashlib
import logging
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fass_jax.types import UserError

log = logging.getLogger('fass_jax')

SPLITS = ('train', 'val', 'test')
# folders that precede the class in the paths of a list
SPLIT_FOLDERS = (*SPLITS, 'train_val2018')


class Listing(NamedTuple):
  """The lines of a list."""

  names: tuple[str, ...]  # paths with /
  labels: tuple[str, ...]
  splits: tuple[str, ...]  # the CSV column `split`; '' without this column


class Published(NamedTuple):
  """A published list."""

  file: str
  lines: int
  sha256: str  # of the plain file; '': unknown


class Known(NamedTuple):
  """A published long-tailed set: lists of images from another data set."""

  title: str
  classes: int
  lists: Mapping[str, Published]


# the checksum of ImageNet-LT's train list is from tfds, the others are of the published files
KNOWN = {
  'imagenet_lt': Known(
    'ImageNet-LT',
    1000,
    {
      'train': Published(
        'ImageNet_LT_train.txt',
        115846,
        'efdbdad4f050237c310b2f354cf95a8b1d7c8d57a63c4ea4bb6bf2bcb012f37f',
      ),
      'val': Published(
        'ImageNet_LT_val.txt',
        20000,
        '9af7ba688acf9532ff5845a8fb14a1e97fdc4c51ac48bc72c08ea9c3f7ff142e',
      ),
      'test': Published(
        'ImageNet_LT_test.txt',
        50000,
        'd1590191cf8a71fada7b1aaedaa2d139a2aea93ff2f1b755319d0bd8dbaa55d5',
      ),
    },
  ),
  'places_lt': Known(
    'Places-LT',
    365,
    {
      'train': Published(
        'Places_LT_train.txt',
        62500,
        '726c4871dcbf07ce2f857703bfe32e9a83ffbf52d704239f6d95c4f4f4c247f7',
      ),
      'val': Published(
        'Places_LT_val.txt',
        7300,
        '719e3cf3766c09134ea28f56f1036c78def511ac1ed2c2532a6beef78f2439ba',
      ),
      'test': Published(
        'Places_LT_test.txt',
        36500,
        '44eee8441c8098c59195465abede425721bc35525d75209f9433b161a6eb37bc',
      ),
    },
  ),
  # without a test list: papers report results on the val list
  'inat18': Known(
    'iNaturalist 2018',
    8142,
    {
      'train': Published('iNaturalist18_train.txt', 437513, ''),
      'val': Published(
        'iNaturalist18_val.txt',
        24426,
        'efaeff65f80641b60864470e6f255aa69453406ef5717eec8c6681748f3a61f3',
      ),
    },
  ),
}


def evaluated(known: Known, split: str) -> str:
  """Returns the name of the list for evaluation.

  Raises:
    UserError: if `split` is neither 'test' nor 'val'.
  """
  return split if split in known.lists else 'val'


def read_list(path: str | pathlib.Path, words: bool = False, column: str = 'label') -> Listing:
  """Reads a list of images, plain or .gz.

  A text file has lines `path label`, and paths may contain spaces. A .csv file has a header with
  the columns `path`, `label` and optionally `split` (train, val or test).

  Args:
    path: the file.
    words: True: labels may be class names; False: labels are whole numbers from 0.
    column: of the labels in a .csv file.

  Raises:
    UserError: if the file is unreadable or a line is invalid; the message has the line number.
  """
  path = pathlib.Path(path)
  is_csv = path.name.removesuffix('.gz').endswith('.csv')
  names: dict[str, int] = {}
  labels, splits = [], []
  lines = _csv_lines(path, column) if is_csv else _text_lines(path)
  for line, (name, label, split) in lines:
    if not words and not (label.isascii() and label.isdigit()):
      raise _wrong(path, line, f"has the label '{label}', which is not a whole number >= 0")
    if split and split not in SPLITS:
      raise _wrong(path, line, f"has the split '{split}', which is not one of {', '.join(SPLITS)}")
    name = name.replace('\\', '/').removeprefix('./')
    if name in names:
      raise _wrong(path, line, f"repeats '{name}' of line {names[name]}")
    names[name] = line
    labels.append(label)
    splits.append(split)
  if not names:
    raise UserError(f'The list {path} is empty; give a list with one line per image.')
  return Listing(tuple(names), tuple(labels), tuple(splits))


def _lines(path: pathlib.Path) -> Iterator[str]:
  try:
    zipped = path.suffix == '.gz'
    with (gzip.open if zipped else open)(path, 'rt', encoding='utf-8-sig') as f:
      yield from f
  except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
    raise UserError(f'The list {path} cannot be read ({error}); fetch it again.') from error


def _text_lines(path: pathlib.Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
  for line, text in enumerate(_lines(path), 1):
    if text.strip():
      name, *label = text.rsplit(maxsplit=1)
      if not label:
        raise _wrong(path, line, f"is '{text.strip()[:80]}', which is not a path and a label")
      yield line, (name.strip(), label[0], '')


def _csv_lines(path: pathlib.Path, column: str) -> Iterator[tuple[int, tuple[str, str, str]]]:
  rows = csv.reader(_lines(path))
  head = [word.strip().lower() for word in next(rows, [])]
  if not {'path', column} <= set(head):
    raise _wrong(path, 1, f'is not a header with the columns path and {column}')
  columns = [head.index(word) if word in head else -1 for word in ('path', column, 'split')]
  for row in rows:
    if any(word.strip() for word in row):
      if len(row) != len(head):
        raise _wrong(path, rows.line_num, f'has {len(row)} columns, but the header has {len(head)}')
      name, label, split = (row[i].strip() if i >= 0 else '' for i in columns)
      if not name or not label:
        raise _wrong(path, rows.line_num, 'has an empty path or label')
      yield rows.line_num, (name, label, split.lower())


def _wrong(path: pathlib.Path, line: int, what: str) -> UserError:
  return UserError(f'{path}: line {line} {what}; correct that line.')


def numbered(labels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns int32 labels 0 .. C-1 and the C names, in numeric order or else alphabetical order."""
  names = set(labels)
  whole = all(name.isascii() and name.isdigit() for name in names)
  order = sorted(names, key=lambda name: (int(name), name) if whole else (0, name))
  number = {name: i for i, name in enumerate(order)}
  return np.asarray([number[label] for label in labels], np.int32), tuple(order)


def folder_names(names: Iterable[str], labels: np.ndarray, num_classes: int) -> tuple[str, ...]:
  """Returns the folder of each class in a list, or class numbers if folders are ambiguous."""
  folders: list[set[str]] = [set() for _ in range(num_classes)]
  for name, label in zip(names, labels.tolist(), strict=True):
    parts = name.split('/')[:-1]
    folders[label].add('/'.join(parts[1:] if parts and parts[0] in SPLIT_FOLDERS else parts))
  found = ['/'.join(f) if len(f) == 1 else '' for f in folders]
  if len(set(found)) < num_classes or '' in found:
    return tuple(map(str, range(num_classes)))
  return tuple(found)


def find_lists(known: Known, folders: Sequence[str]) -> dict[str, pathlib.Path]:
  """Returns the path of each split's list, from the first of the folders that contains it."""
  found = {}
  for split, published in known.lists.items():
    stem = published.file.removesuffix('.txt')
    for folder in filter(None, folders):
      files = [
        pathlib.Path(folder).expanduser() / f'{stem}{end}'
        for end in ('.txt', '.txt.gz', '.csv', '.csv.gz')
      ]
      here = [path for path in files if path.is_file()]
      if here:
        found[split] = here[0]
        break
  return found


def sum_of(path: pathlib.Path) -> str:
  """Returns the sha256 of a list's uncompressed text.

  Raises:
    UserError: if the file cannot be read.
  """
  digest = hashlib.sha256()
  try:
    with gzip.open(path) if path.suffix == '.gz' else path.open('rb') as f:
      while block := f.read(1 << 20):
        digest.update(block)
  except (OSError, EOFError, zlib.error) as error:
    raise UserError(f'The list {path} cannot be read ({error}); fetch it again.') from error
  return digest.hexdigest()


def fingerprint(sums: Mapping[str, str]) -> str:
  """Returns twelve hexadecimal digits that identify these lists, from the checksums per split."""
  text = ' '.join(f'{split}={sums[split]}' for split in SPLITS if split in sums)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def say_if_own(known: Known, split: str, path: pathlib.Path, total: str, lines: int) -> None:
  """Logs if a list is not the published one; such a list is accepted as another data set."""
  published = known.lists[split]
  if total != published.sha256 if published.sha256 else lines != published.lines:
    log.info(
      '%s differs from the published %s (%d instead of %d lines): do not compare its results '
      'with published ones',
      path,
      published.file,
      lines,
      published.lines,
    )
