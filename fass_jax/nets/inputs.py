"""What a backbone takes: images or rows of numbers, and the keys that give its size."""

from __future__ import annotations

from typing import NamedTuple


class Input(NamedTuple):
  """What a backbone takes."""

  axes: int = 3  # of one example: 3 for an image, 1 for a row of numbers
  sizes: tuple[str, ...] = ('depth',)  # the keys of the section `net` that give its size


# by the name of the backbone; one for images with a depth needs no row
INPUTS: dict[str, Input] = {'mlp': Input(axes=1, sizes=('hidden',))}


def input_of(backbone: str) -> Input:
  """Returns what a backbone takes."""
  return INPUTS.get(backbone, Input())
