"""Other loops around PyTorch's train step: compiled, captured as a CUDA graph, fed by workers.

Every loop has one interface: `run(n)` does n steps and waits for the last, `fill_scores()` ends
an epoch early, `close()` frees what it holds. A method is a name in `torch_baseline.STEPS`.
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
WARM_UP = 3  # steps before a capture: buffers of the optimiser, the choice of algorithms


def mixup_step(run: Run) -> torch.Tensor:
  """Returns the loss of MixUp: both labels, one lambda ~ Beta(1, 1) for the batch."""
  x, y = run.natural()
  lam = torch.rand((), device=run.device)  # Beta(1, 1) is uniform
  other = torch.rand(len(y), device=run.device).argsort()  # a random order
  z = run.net(lam * x + (1 - lam) * x[other])
  run.hits += (z.detach().argmax(1) == y).sum()
  return lam * F.cross_entropy(z, y) + (1 - lam) * F.cross_entropy(z, y[other])


STEPS['mixup'] = mixup_step


class DeviceRun(Run):
  """The training set on the device; a step eager, compiled or captured.

  Args:
    method: 'ce', 'fass' or 'mixup'.
    mode: 'eager'; 'compile': the network by `torch.compile`; 'graphs': the whole step, optimiser
      included, as one CUDA graph.
    options: of `torch_baseline.Run`: bfloat16, tf32, ..
  """

  def __init__(
    self, images: np.ndarray, labels: np.ndarray, num_classes: int, depth: int, batch_size: int,
    method: str = 'ce', mode: str = 'eager', **options: Any,
  ):  # fmt: skip
    if mode not in MODES:
      raise ValueError(f"mode '{mode}' is not one of {', '.join(MODES)}")
    if mode == 'graphs' and not torch.cuda.is_available():
      raise RuntimeError("mode 'graphs' needs an NVIDIA GPU, and torch finds none")
    super().__init__(images, labels, num_classes, depth, batch_size, **options)
    self.method, self.mode = method, mode
    self.cursor = torch.arange(batch_size, device=self.device)
    self.graph: Any = None
    if mode == 'compile':
      # two batch sizes are two programs, none of them with symbolic sizes
      self.net = torch.compile(self.model, dynamic=False)

  def plan(self) -> None:
    """Goes on to the next batch; the host counts, and the device where a graph has to."""
    super().plan()
    if self.mode == 'graphs' and self.place == self.batch_size:  # a new epoch
      self.cursor.copy_(torch.arange(self.batch_size, device=self.device))

  def natural(self) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the next natural images `[B, 3, H, W]` and their labels."""
    if self.mode != 'graphs':
      return super().natural()
    # a captured slice would be the same one for ever
    index = self.order[self.cursor]
    self.cursor += self.batch_size
    return self.load(index), self.labels[index]

  def step(self) -> None:
    """Does one step."""
    self.plan()
    if self.graph is None:
      train_step(self, self.method)
    else:
      self.graph.replay()

  def capture(self) -> None:
    """Does a few steps and captures the next one, which is not done yet.

    The seed and offset of the device's generator are registered with the graph by torch, so each
    replay draws anew; what depends on the host (the permutation, the rate) stays outside.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
      for _ in range(WARM_UP):
        self.step()
    torch.cuda.current_stream().wait_stream(side)
    # the gradients then come from the graph's own memory
    self.optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    # other threads of this process (loaders, another framework) may use the device meanwhile
    with torch.cuda.graph(graph, capture_error_mode='thread_local'):
      train_step(self, self.method)
    self.graph = graph

  def run(self, n: int) -> None:
    """Does n steps and waits for the last."""
    if self.mode == 'graphs' and self.graph is None:
      self.capture()
    for _ in range(n):
      self.step()
    self.loss.item()

  def close(self) -> None:
    """Frees the graph and its memory."""
    self.graph = None


def transform(side: int, pad: int) -> Callable[[Image.Image], torch.Tensor]:
  """Returns crop, flip, tensor and normalisation: torchvision's, or the same by hand."""
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
  """The transforms without torchvision, image by image, as torchvision does them on PIL."""

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
  """Map-style: position -> (image, label)."""

  def __init__(self, images: np.ndarray, labels: np.ndarray, pad: int):
    self.images, self.labels = images, labels.tolist()
    self.transform = transform(images.shape[1], pad)

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, i: int) -> Any:
    return self.transform(Image.fromarray(self.images[i])), self.labels[i]


class Pairs(Pictures):
  """Map-style: position -> (image, an image of the class it is confused with, own label).

  `target [C]` lies in shared memory: what the main process writes at an epoch's end, the workers
  see; -1 means a class without scores, which gets a random other one.
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
  """The field's ordinary loop: worker processes load image by image, batches are copied over.

  FASS has a second loader: rebalanced images by a `WeightedRandomSampler`, each with a partner
  of the class that the score matrix names.

  Workers load ahead while nobody waits. So `warm_up` steps come before the clock starts, the
  clock runs over many times `ahead` steps, and no other loop takes turns with this one.

  Args:
    num_workers: of each loader; None takes the cores, at most 8.
    options: of `torch_baseline.Run`.
  """

  def __init__(
    self, images: np.ndarray, labels: np.ndarray, num_classes: int, depth: int, batch_size: int,
    method: str = 'ce', num_workers: int | None = None, **options: Any,
  ):  # fmt: skip
    options = {'channels_last': False} | options
    super().__init__(images, labels, num_classes, depth, batch_size, **options)
    self.method = method
    workers = min(8, os.cpu_count() or 1) if num_workers is None else num_workers
    self.ahead = 2 * workers  # batches that are ready at most: torch's prefetch_factor is 2
    self.warm_up = self.ahead + 1  # steps after which every worker has started
    self.choice = torch.full((num_classes,), -1).share_memory_()
    self.loaders = [self._loader(Pictures(images, labels, self.pad), workers, shuffle=True)]
    self.batches = self._epochs()
    if method == 'fass':
      total = self.pair_size * -(-len(labels) // batch_size)  # as many batches as the other
      sampler = data.WeightedRandomSampler(self.weight.tolist(), total, replacement=True)
      pairs = Pairs(images, labels, self.pad, self.choice)
      self.loaders.append(self._loader(pairs, workers, sampler=sampler, batch_size=self.pair_size))
      self.pairs = self._forever(self.loaders[1])

  def _loader(self, dataset: Pictures, workers: int, **options: Any) -> data.DataLoader:
    # jax has threads, which a forked child would find dead
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
    """Turns the sums into S, and S into a target and a ratio for each class."""
    super().refresh()
    self.choice.copy_(torch.where(self.known, self.target, -1))

  def _copy(self, batch: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(x.to(self.device, non_blocking=True) for x in batch)

  def natural(self) -> Any:
    """Returns the next natural images `[n, 3, H, W]` and their labels; the last n may be short."""
    return self._copy(next(self.batches))

  def pair(self) -> Any:
    """Returns rebalanced images, their score-chosen partners, and the labels of the former."""
    return self._copy(next(self.pairs))

  def run(self, n: int) -> None:
    """Does n steps and waits for the last."""
    for _ in range(n):
      train_step(self, self.method)
    self.loss.item()

  def close(self) -> None:
    """Shuts the workers down."""
    # persistent workers end when nothing holds their loader any more
    self.batches = self.pairs = iter(())
    self.loaders = []
