"""Where listed images lie: an unpacked folder, or the two archives of ILSVRC 2012."""

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
  """A split as its list names it."""

  names: tuple[str, ...]
  labels: np.ndarray  # int32 [N]


class Item(NamedTuple):
  """An image that was met."""

  split: str
  line: int  # of its list, from 0
  encoded: bytes


Parts = Mapping[str, Part]


class Source(NamedTuple):
  """Where the images lie."""

  path: pathlib.Path
  tars: tuple[pathlib.Path, ...]  # () for an unpacked folder


def find_source(kind: str, folder: str) -> Source | None:
  """Returns what `folder` holds, None if it is nothing: unpacked images, else the two archives."""
  path = pathlib.Path(folder).expanduser()
  if not folder or not path.is_dir():
    return None
  if kind == 'imagenet_lt' and not (path / 'train').is_dir():
    tars = tuple(path / name for name in (TRAIN_TAR, VAL_TAR))
    return Source(path, tars) if all(tar.is_file() for tar in tars) else None
  return Source(path, ()) if any(inner.is_dir() for inner in path.iterdir()) else None


def _places(name: str, flat: bool) -> tuple[str, ...]:
  """Returns where an image may lie: as the list says, without its first folder, or flat."""
  first, _, rest = name.partition('/')
  last = name.rpartition('/')[2]
  return (name, rest or name, f'{first}/{last}', last) if flat else (name, rest or name)


def locate(source: Source, parts: Parts) -> dict[str, list[str]]:
  """Returns the path of each listed image in an unpacked folder, by split.

  Raises:
    UserError: images are missing.
  """
  found: dict[str, list[str]] = {}
  missing = []
  root = str(source.path)
  for split, part in parts.items():
    # a name alone finds its image only if no other class has the same one
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
    UserError: an image is missing or cannot be read.
  """
  for split, paths in locate(source, parts).items():
    for line, path in enumerate(paths):
      try:
        encoded = pathlib.Path(path).read_bytes()
      except OSError as error:
        raise UserError(f'The image {path} cannot be read ({error}); mend it.') from error
      yield Item(split, line, encoded)


def in_tars(source: Source, parts: Parts) -> Iterator[Item]:
  """Yields the listed images as they come along in the archives, each of which is read once.

  Images are known by their names without folders, as those of ILSVRC 2012 are all different.

  Raises:
    UserError: two listed images have one name, images are missing, or an archive is damaged.
  """
  wanted: dict[str, tuple[str, int]] = {}
  for split, part in parts.items():
    for line, name in enumerate(part.names):
      short = name.rpartition('/')[2]
      if short in wanted:
        raise UserError(
          f"The lists name '{short}' twice, and in the archives an image is known by this name "
          'alone; unpack the archives and name their folder with --config.data.dir=DIR.'
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
  """Yields the wanted files of an archive and of the archives in it, names without folders."""
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
      f'The archive {path} is damaged or cut short ({error}); fetch it again.'
    ) from error


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
  file = tar.extractfile(member)
  return file.read() if file is not None else b''


def _all_met(missing: Sequence[str], parts: Parts, where: str) -> None:
  if missing:
    total = sum(len(part.names) for part in parts.values())
    folders = collections.Counter(name.rpartition('/')[0] for name in missing)
    raise UserError(
      f'{len(missing)} of {total} listed images, of {len(folders)} folders, are not in {where}: '
      f'{", ".join(missing[:3])}{" ..." if len(missing) > 3 else ""}; complete it, or give lists '
      'without them with --config.data.lists=DIR.'
    )
