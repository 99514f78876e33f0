"""Sets of encoded images: by path, or in a prepared set. See `types.Pictures`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fass_jax.types import Pictures, UserError


@dataclasses.dataclass(frozen=True)
class Paths:
  """Image files, read one by one."""

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
        f'The image {self.paths[i]} was there at the start and cannot be read any more '
        f'({error.strerror}); put it back and start again.'
      ) from error

  def name(self, i: int) -> str:
    """Returns the path of image `i`."""
    return self.paths[i]


@dataclasses.dataclass(frozen=True)
class Records:
  """Images of a prepared set; `source[row]['image']` may be read from many threads at once."""

  source: Any  # tfds' data source, images not decoded
  row: np.ndarray  # int64 [N], where image i is in the source
  names: Sequence[str]

  def __len__(self) -> int:
    return len(self.row)

  def __getitem__(self, i: int) -> bytes:
    return bytes(self.source[int(self.row[i])]['image'])

  def name(self, i: int) -> str:
    """Returns the name of image `i` in the list of its split."""
    return self.names[i]


@dataclasses.dataclass(frozen=True)
class Part:
  """Some of the images of a set, in an order of their own."""

  pictures: Pictures
  index: np.ndarray  # int64 [N], positions in it

  @property
  def upright(self) -> bool:
    """Whether photos are turned, see `decode.rgb`."""
    return bool(getattr(self.pictures, 'upright', False))

  def __len__(self) -> int:
    return len(self.index)

  def __getitem__(self, i: int) -> bytes:
    return self.pictures[int(self.index[i])]

  def name(self, i: int) -> str:
    """Returns the name of image `i` in the whole set."""
    return self.pictures.name(int(self.index[i]))
