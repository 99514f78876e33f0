"""Implementations of `types.Pictures`: image files, records of a prepared set, subsets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fass_jax.types import Pictures, UserError


@dataclasses.dataclass(frozen=True)
class Paths:
  """Image files, read on demand."""

  paths: Sequence[str]
  upright: bool = False  # see `decode.rgb`

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, i: int) -> bytes:
    try:
      with open(self.paths[i], 'rb') as f:
        return f.read()
    except OSError as error:
      raise UserError(
        f'The image {self.paths[i]} existed at the start and cannot be read any more '
        f'({error.strerror}); restore it and start again.'
      ) from error

  def name(self, i: int) -> str:
    """Returns the path of image `i`."""
    return self.paths[i]


@dataclasses.dataclass(frozen=True)
class Records:
  """Images of a prepared set; several threads may read `source[row]['image']` at once."""

  source: Any  # tfds data source, images not decoded
  row: np.ndarray  # int64 [N], row of image i in the source
  names: Sequence[str]

  def __len__(self) -> int:
    return len(self.row)

  def __getitem__(self, i: int) -> bytes:
    return bytes(self.source[int(self.row[i])]['image'])

  def name(self, i: int) -> str:
    """Returns the name of image `i` in the list of its split."""
    return self.names[i]


@dataclasses.dataclass(frozen=True)
class Joined:
  """The images of two sets, one after the other."""

  first: Pictures
  second: Pictures

  @property
  def upright(self) -> bool:
    """True if the EXIF orientation is applied: as in the first set, see `decode.rgb`."""
    return bool(getattr(self.first, 'upright', False))

  def __len__(self) -> int:
    return len(self.first) + len(self.second)

  def __getitem__(self, i: int) -> bytes:
    return self.first[i] if i < len(self.first) else self.second[i - len(self.first)]

  def name(self, i: int) -> str:
    """Returns the name of image `i` in its own set."""
    n = len(self.first)
    return self.first.name(i) if i < n else self.second.name(i - n)


@dataclasses.dataclass(frozen=True)
class Part:
  """A subset of images, in the order of `index`."""

  pictures: Pictures
  index: np.ndarray  # int64 [N], positions in `pictures`

  @property
  def upright(self) -> bool:
    """True if the EXIF orientation is applied, see `decode.rgb`."""
    return bool(getattr(self.pictures, 'upright', False))

  def __len__(self) -> int:
    return len(self.index)

  def __getitem__(self, i: int) -> bytes:
    return self.pictures[int(self.index[i])]

  def name(self, i: int) -> str:
    """Returns the name of image `i` in the whole set."""
    return self.pictures.name(int(self.index[i]))
