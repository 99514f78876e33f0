"""Finds listed images in an unpacked folder or in the two archives of ILSVRC 2012."""

from __future__ import annotations

import collections
import os
import pathlib
import tarfile
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fass_jax.types import UserError

TRAIN_TAR = 'ILSVRC2012_img_train.tar'
VAL_TAR = 'ILSVRC2012_img_val.tar'


class Part(NamedTuple):
  """The images and labels of a split's list."""

  names: tuple[str, ...]
  labels: np.ndarray  # int32 [N]


class Item(NamedTuple):
  """An image and its line in a list."""

  split: str
  line: int  # line of its list, from 0
  encoded: bytes


Parts = Mapping[str, Part]


class Source(NamedTuple):
  """The location of the images."""

  path: pathlib.Path
  tars: tuple[pathlib.Path, ...]  # archives; () for an unpacked folder


def find_source(kind: str, folder: str) -> Source | None:
  """Returns the unpacked images or else the two archives in `folder`, None if it has neither."""
  path = pathlib.Path(folder).expanduser()
  if not folder or not path.is_dir():
    return None
  if kind == 'imagenet_lt' and not (path / 'train').is_dir():
    tars = tuple(path / name for name in (TRAIN_TAR, VAL_TAR))
    return Source(path, tars) if all(tar.is_file() for tar in tars) else None
  return Source(path, ()) if any(inner.is_dir() for inner in path.iterdir()) else None


def _places(name: str, flat: bool) -> tuple[str, ...]:
  """Returns the possible paths of an image: as listed, without the first folder, or flat."""
  first, _, rest = name.partition('/')
  last = name.rpartition('/')[2]
  return (name, rest or name, f'{first}/{last}', last) if flat else (name, rest or name)


def locate(source: Source, parts: Parts) -> dict[str, list[str]]:
  """Returns the path of each listed image in an unpacked folder, by split.

  Raises:
    UserError: if images are missing.
  """
  found: dict[str, list[str]] = {}
  missing = []
  root = str(source.path)
  for split, part in parts.items():
    # a flat folder needs file names that are unique across classes
    flat = len({name.rpartition('/')[2] for name in part.names}) == len(part.names)
    last, paths = 0, []
    for name in part.names:
      places = _places(name, flat)
      for i in (last, *range(len(places))):
        path = os.path.join(root, places[i])
        if os.path.isfile(path):
          last = i
          paths.append(path)
          break
      else:
        missing.append(name)
    found[split] = paths
  _all_met(missing, parts, root)
  return found


def in_folder(source: Source, parts: Parts) -> Iterator[Item]:
  """Yields the listed images of an unpacked folder, split by split.

  Raises:
    UserError: if an image is missing or cannot be read.
  """
  for split, paths in locate(source, parts).items():
    for line, path in enumerate(paths):
      try:
        encoded = pathlib.Path(path).read_bytes()
      except OSError as error:
        raise UserError(f'The image {path} cannot be read ({error}); replace it.') from error
      yield Item(split, line, encoded)


def in_tars(source: Source, parts: Parts) -> Iterator[Item]:
  """Yields the listed images in the order of the archives, which are read once.

  File names without folders identify the images; in ILSVRC 2012 these names are unique.

  Raises:
    UserError: if two listed images have the same name, images are missing, or an archive is
      damaged.
  """
  wanted: dict[str, tuple[str, int]] = {}
  for split, part in parts.items():
    for line, name in enumerate(part.names):
      short = name.rpartition('/')[2]
      if short in wanted:
        raise UserError(
          f"The lists have two images named '{short}', which cannot be told apart in the archives; "
          'unpack the archives and give their folder with --config.data.dir=DIR.'
        )
      wanted[short] = split, line
  for tar in source.tars:
    for name, encoded in _files(tar, wanted):
      yield Item(*wanted.pop(name), encoded)
      if not wanted:
        return
  missing = [parts[split].names[line] for split, line in wanted.values()]
  _all_met(missing, parts, ' and '.join(map(str, source.tars)))


def _files(path: pathlib.Path, wanted: Container[str]) -> Iterator[tuple[str, bytes]]:
  """Yields name (without folders) and bytes of the wanted files in an archive and nested ones."""
  try:
    with tarfile.open(path, 'r:') as outer:
      for member in outer:
        name = member.name.rpartition('/')[2]
        if member.isfile() and name.endswith('.tar'):
          with tarfile.open(fileobj=outer.extractfile(member), mode='r:') as inner:
            for image in inner:
              name = image.name.rpartition('/')[2]
              if name in wanted:
                yield name, _read(inner, image)
        elif name in wanted:
          yield name, _read(outer, member)
  except (OSError, EOFError, tarfile.TarError) as error:
    raise UserError(
      f'The archive {path} is damaged or truncated ({error}); fetch it again.'
    ) from error


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
  file = tar.extractfile(member)
  return file.read() if file is not None else b''


def _all_met(missing: Sequence[str], parts: Parts, where: str) -> None:
  if missing:
    total = sum(len(part.names) for part in parts.values())
    folders = collections.Counter(name.rpartition('/')[0] for name in missing)
    raise UserError(
      f'{len(missing)} of {total} listed images, from {len(folders)} folders, are not in {where}: '
      f'{", ".join(missing[:3])}{" ..." if len(missing) > 3 else ""}; add them, or give lists '
      'without them with --config.data.lists=DIR.'
    )
