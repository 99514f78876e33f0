"""Other loops around PyTorch's train step: compiled, as a CUDA graph, with DataLoader workers.

All loops have the same interface: `run(n)` performs n steps and waits for the last one,
`fill_scores()` refreshes the score matrix early, `close()` frees resources. A method is a name in
`torch_baseline.STEPS`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F
from torch.utils import data

from launch.benchmarks.torch_baseline import MEAN, STD, STEPS, Run, train_step

MODES = ('eager', 'compile', 'graphs')
WARM_UP = 3  # steps before a capture, to allocate optimiser buffers and select algorithms


def mixup_step(run: Run) -> torch.Tensor:
  """Returns the MixUp loss with both labels and one lambda ~ Beta(1, 1) per batch."""
  x, y = run.natural()
  lam = torch.rand((), device=run.device)  # Beta(1, 1) is uniform
  other = torch.rand(len(y), device=run.device).argsort()  # a random order
  z = run.net(lam * x + (1 - lam) * x[other])
  run.hits += (z.detach().argmax(1) == y).sum()
  return lam * F.cross_entropy(z, y) + (1 - lam) * F.cross_entropy(z, y[other])


STEPS['mixup'] = mixup_step


class DeviceRun(Run):
  """A run with the training set on the device, and eager, compiled or captured steps.

  Args:
    method: 'ce', 'fass' or 'mixup'.
    mode: 'eager'; 'compile': `torch.compile` of the network; 'graphs': the whole step, with the
      optimiser, as one CUDA graph.
    options: options of `torch_baseline.Run`: bfloat16, tf32, ...
  """

  def __init__(
    self, images: np.ndarray, labels: np.ndarray, num_classes: int, depth: int, batch_size: int,
    method: str = 'ce', mode: str = 'eager', **options: Any,
  ):  # fmt: skip
    if mode not in MODES:
      raise ValueError(f"mode '{mode}' is not one of {', '.join(MODES)}")
    if mode == 'graphs' and not torch.cuda.is_available():
      raise RuntimeError("mode 'graphs' needs an NVIDIA GPU, but torch finds none")
    super().__init__(images, labels, num_classes, depth, batch_size, **options)
    self.method, self.mode = method, mode
    self.cursor = torch.arange(batch_size, device=self.device)
    self.graph: Any = None
    if mode == 'compile':
      # one program per batch size, without symbolic sizes
      self.net = torch.compile(self.model, dynamic=False)

  def plan(self) -> None:
    """Advances to the next batch, with the position on the host, and for graphs on the device."""
    super().plan()
    if self.mode == 'graphs' and self.place == self.batch_size:  # a new epoch
      self.cursor.copy_(torch.arange(self.batch_size, device=self.device))

  def natural(self) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the next natural images `[B, 3, H, W]` and their labels."""
    if self.mode != 'graphs':
      return super().natural()
    # a captured slice would never change, so index with a tensor
    index = self.order[self.cursor]
    self.cursor += self.batch_size
    return self.load(index), self.labels[index]

  def step(self) -> None:
    """Performs one step."""
    self.plan()
    if self.graph is None:
      train_step(self, self.method)
    else:
      self.graph.replay()

  def capture(self) -> None:
    """Performs a few steps and captures the next one without executing it.

    torch registers the seed and offset of the device's generator with the graph, so each replay has
    new draws. Values from the host (the permutation, the learning rate) are not captured.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
      for _ in range(WARM_UP):
        self.step()
    torch.cuda.current_stream().wait_stream(side)
    # so that the graph allocates the gradients in its own memory
    self.optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    # other threads of this process (loaders, jax) may use the device during the capture
    with torch.cuda.graph(graph, capture_error_mode='thread_local'):
      train_step(self, self.method)
    self.graph = graph

  def run(self, n: int) -> None:
    """Performs n steps and waits for the last one."""
    if self.mode == 'graphs' and self.graph is None:
      self.capture()
    for _ in range(n):
      self.step()
    self.loss.item()

  def close(self) -> None:
    """Frees the graph and its memory."""
    self.graph = None


def transform(side: int, pad: int) -> Callable[[Image.Image], torch.Tensor]:
  """Returns crop, flip, conversion and normalisation from torchvision, or `HandMade` without it."""
  try:
    from torchvision import transforms
  except ModuleNotFoundError:
    return HandMade(side, pad)
  return transforms.Compose(
    [
      transforms.RandomCrop(side, padding=pad),
      transforms.RandomHorizontalFlip(),
      transforms.ToTensor(),
      transforms.Normalize(MEAN, STD),
    ]
  )


class HandMade:
  """The same transforms without torchvision, image by image on PIL images."""

  def __init__(self, side: int, pad: int):
    self.side, self.pad = side, pad
    self.mean, self.std = (torch.tensor(x)[:, None, None] for x in (MEAN, STD))

  def __call__(self, image: Image.Image) -> torch.Tensor:
    """Maps an RGB image to float32 `[3, side, side]`."""
    image = ImageOps.expand(image, self.pad)
    top, left = torch.randint(0, 2 * self.pad + 1, (2,)).tolist()
    image = image.crop((left, top, left + self.side, top + self.side))
    if torch.rand(1).item() < 0.5:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    return x.sub_(self.mean).div_(self.std)


class Pictures(data.Dataset):
  """Map-style data set: position -> (image, label)."""

  def __init__(self, images: np.ndarray, labels: np.ndarray, pad: int):
    self.images, self.labels = images, labels.tolist()
    self.transform = transform(images.shape[1], pad)

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, i: int) -> Any:
    return self.transform(Image.fromarray(self.images[i])), self.labels[i]


class Pairs(Pictures):
  """Map-style data set: position -> (image, image of the target class, label of the first image).

  `target [C]` is in shared memory, so that the workers see the updates of the main process at the
  end of an epoch; -1 means a class without scores, for which the target is random.
  """

  def __init__(self, images: np.ndarray, labels: np.ndarray, pad: int, target: torch.Tensor):
    super().__init__(images, labels, pad)
    self.target = target
    self.members = [np.flatnonzero(labels == c) for c in range(len(target))]

  def __getitem__(self, i: int) -> Any:
    x, y = super().__getitem__(i)
    t = int(self.target[y])
    if t < 0:
      t = (y + int(torch.randint(1, len(self.target), ()))) % len(self.target)
    members = self.members[t]
    x_t, _ = super().__getitem__(int(members[int(torch.randint(len(members), ()))]))
    return x, x_t, y


class LoaderRun(Run):
  """The usual PyTorch loop: worker processes load image by image, batches are copied to the device.

  FASS has a second loader with rebalanced images from a `WeightedRandomSampler`, each with a
  partner from the target class of the score matrix.

  Because workers prefetch batches, a measurement starts after `warm_up` steps, takes many times
  `ahead` steps, and does not alternate with other loops.

  Args:
    num_workers: workers per loader; None: the number of cores, at most 8.
    options: options of `torch_baseline.Run`.
  """

  def __init__(
    self, images: np.ndarray, labels: np.ndarray, num_classes: int, depth: int, batch_size: int,
    method: str = 'ce', num_workers: int | None = None, **options: Any,
  ):  # fmt: skip
    options = {'channels_last': False} | options
    super().__init__(images, labels, num_classes, depth, batch_size, **options)
    self.method = method
    workers = min(8, os.cpu_count() or 1) if num_workers is None else num_workers
    self.ahead = 2 * workers  # largest number of prefetched batches: prefetch_factor is 2
    self.warm_up = self.ahead + 1  # steps after which all workers have started
    self.choice = torch.full((num_classes,), -1).share_memory_()
    self.loaders = [self._loader(Pictures(images, labels, self.pad), workers, shuffle=True)]
    self.batches = self._epochs()
    if method == 'fass':
      total = self.pair_size * -(-len(labels) // batch_size)  # as many batches as the first loader
      sampler = data.WeightedRandomSampler(self.weight.tolist(), total, replacement=True)
      pairs = Pairs(images, labels, self.pad, self.choice)
      self.loaders.append(self._loader(pairs, workers, sampler=sampler, batch_size=self.pair_size))
      self.pairs = self._forever(self.loaders[1])

  def _loader(self, dataset: Pictures, workers: int, **options: Any) -> data.DataLoader:
    # not fork, because the threads of jax would not exist in a forked child
    context = 'forkserver' if workers and 'jax' in sys.modules else None
    if context:
      multiprocessing.set_forkserver_preload(['torch', 'torch.utils.data', 'PIL.Image'])
    return data.DataLoader(
      dataset,
      num_workers=workers,
      persistent_workers=workers > 0,
      pin_memory=self.device.type == 'cuda',
      multiprocessing_context=context,
      **{'batch_size': self.batch_size} | options,
    )

  def _forever(self, loader: data.DataLoader) -> Iterator[Any]:
    while True:
      yield from loader

  def _epochs(self) -> Iterator[Any]:
    while True:
      yield from self.loaders[0]
      if self.method == 'fass':
        self.refresh()

  def refresh(self) -> None:
    """Computes S from the sums, and from S the target and ratio of each class."""
    super().refresh()
    self.choice.copy_(torch.where(self.known, self.target, -1))

  def _copy(self, batch: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(x.to(self.device, non_blocking=True) for x in batch)

  def natural(self) -> Any:
    """Returns the next natural images `[n, 3, H, W]`, n <= B, and their labels."""
    return self._copy(next(self.batches))

  def pair(self) -> Any:
    """Returns rebalanced images, their partners from the score matrix, and the images' labels."""
    return self._copy(next(self.pairs))

  def run(self, n: int) -> None:
    """Performs n steps and waits for the last one."""
    for _ in range(n):
      train_step(self, self.method)
    self.loss.item()

  def close(self) -> None:
    """Shuts the workers down."""
    # persistent workers end when no reference to their loader remains
    self.batches = self.pairs = iter(())
    self.loaders = []
