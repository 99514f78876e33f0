"""The usual PyTorch input pipeline: image files loaded by the workers of a DataLoader.

This module does not import jax, so that the worker processes are small. Needs the extra `parity`.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils import data

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_box(
  width: int, height: int, area: tuple[float, float] = (0.08, 1.0), ratio: float = 4 / 3
) -> tuple[int, int, int, int]:
  """Draws a box as `get_params` of torchvision's RandomResizedCrop."""
  edge = math.log(ratio)
  for _ in range(10):
    size = width * height * torch.empty(1).uniform_(*area).item()
    aspect = torch.exp(torch.empty(1).uniform_(-edge, edge)).item()
    w, h = round(math.sqrt(size * aspect)), round(math.sqrt(size / aspect))
    if 0 < w <= width and 0 < h <= height:
      y = int(torch.randint(0, height - h + 1, (1,)).item())
      x = int(torch.randint(0, width - w + 1, (1,)).item())
      return x, y, x + w, y + h
  w, h = min(width, round(height * ratio)), min(height, round(width * ratio))
  left, top = (width - w) // 2, (height - h) // 2
  return left, top, left + w, top + h


class Crops(data.Dataset):
  """Map-style data set: position -> (float32 `[3, side, side]`, label), as torchvision on Pillow.

  The steps are: open, convert, RandomResizedCrop, RandomHorizontalFlip, ToTensor, Normalize.

  Args:
    paths: image files.
    total: images per epoch; the files are repeated.
    side: pixels per side of the crop.
    whole: False: without flip and normalisation, which a GPU could do; the result is uint8.
  """

  def __init__(self, paths: Sequence[str], total: int, side: int = 224, whole: bool = True):
    self.paths, self.total, self.side, self.whole = paths, total, side, whole
    self.mean, self.std = (torch.tensor(x)[:, None, None] for x in (MEAN, STD))

  def __len__(self) -> int:
    return self.total

  def __getitem__(self, i: int) -> Any:
    with open(self.paths[i % len(self.paths)], 'rb') as f:
      image = Image.open(f).convert('RGB')
    size, box = (self.side, self.side), random_box(*image.size)
    image = image.resize(size, Image.Resampling.BILINEAR, box=box)
    if not self.whole:
      return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous(), 0
    if torch.rand(1).item() < 0.5:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    return x.sub_(self.mean).div_(self.std), 0


class Loader:
  """A DataLoader with persistent workers, idle between epochs so that candidates can alternate."""

  def __init__(self, images: Crops, batch: int, workers: int):
    # not fork, because the threads of jax would not exist in a forked child
    context = 'forkserver' if workers else None
    if workers:
      multiprocessing.set_forkserver_preload(['torch', 'torch.utils.data', 'PIL.Image'])
    self.loader: Any = data.DataLoader(
      images,
      batch,
      shuffle=True,
      num_workers=workers,
      persistent_workers=workers > 0,
      multiprocessing_context=context,
    )

  def run(self, n: int) -> None:
    """Loads n epochs."""
    for _ in range(n):
      for _ in self.loader:
        pass

  def close(self) -> None:
    """Shuts the workers down."""
    self.loader = None  # persistent workers end when no reference to their loader remains
