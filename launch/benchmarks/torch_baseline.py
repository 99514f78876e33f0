"""The same train step in plain PyTorch: baseline of the benchmark, reference of the parity tests.

The code is optimised PyTorch: the training set is one uint8 tensor on the device, augmentation is
batched tensor code, no operation in a step waits for the device, and the optimiser is fused.
`torch_loops` has other loops around this step. Needs the extra `parity`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)


class BasicBlock(nn.Module):
  """Two 3x3 convolutions with the parameter-free shortcut (option A)."""

  def __init__(self, inputs: int, features: int, stride: int):
    super().__init__()
    self.stride, self.pad = stride, (features - inputs) // 2
    self.conv1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(features)
    self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(features)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps `[B, F, H, W]` to `[B, features, H / stride, W / stride]`."""
    y = F.relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y))
    if self.stride != 1 or self.pad:
      x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
    return F.relu(x + y)


class ResNetCifar(nn.Module):
  """`[B, 3, H, W] -> logits [B, C]`, depth 6n + 2; modules have the names of fass_jax's tree."""

  def __init__(self, depth: int, num_classes: int):
    super().__init__()
    self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(16)
    self.blocks: list[str] = []
    inputs = 16
    for stage, features in enumerate((16, 32, 64)):
      for block in range((depth - 2) // 6):
        stride = 2 if stage > 0 and block == 0 else 1
        self.blocks.append(f'stage{stage + 1}_block{block}')
        self.add_module(self.blocks[-1], BasicBlock(inputs, features, stride))
        inputs = features
    self.linear = nn.Linear(64, num_classes)
    for module in self.modules():
      if isinstance(module, nn.Conv2d | nn.Linear):
        # by fan-in, not truncated; the linear layer's bias keeps torch's default U(+-1/8)
        nn.init.kaiming_normal_(module.weight)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Returns logits `[B, C]`."""
    x = F.relu(self.bn1(self.conv1(x)))
    for name in self.blocks:
      x = self.get_submodule(name)(x)
    return self.linear(x.mean(dim=(2, 3)))


LEAVES = {
  'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean',
  'var': 'running_var',
}  # fmt: skip


def _turn(array: np.ndarray, to_torch: bool) -> np.ndarray:
  """Transposes a kernel between HWIO and OIHW, or between IO and OI."""
  if array.ndim == 4:
    return array.transpose((3, 2, 0, 1) if to_torch else (2, 3, 1, 0))
  return array.T


def to_torch(variables: Mapping[str, Any]) -> dict[str, torch.Tensor]:
  """Converts fass_jax's `{'params': .., 'batch_stats': ..}` to entries of a state dict.

  Load them with `load_variables`, because torch's batch counters have no counterpart in the tree.
  """
  state: dict[str, torch.Tensor] = {}

  def walk(tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for name, leaf in tree.items():
      if isinstance(leaf, Mapping):
        walk(leaf, (*path, name))
      else:
        array = _turn(np.asarray(leaf), True)
        state['.'.join((*path, LEAVES[name]))] = torch.from_numpy(array.copy())

  for collection in variables.values():
    for part in collection.values():  # 'body' and 'head'
      walk(part, ())
  return state


def load_variables(model: nn.Module, variables: Mapping[str, Any]) -> None:
  """Copies parameters and running statistics of fass_jax into a module, in place.

  Raises:
    KeyError: if the entries of the two differ.
  """
  state, new = model.state_dict(), to_torch(variables)
  differ = {k for k in state if not k.endswith('num_batches_tracked')} ^ new.keys()
  if differ:
    raise KeyError(f'the trees differ in {sorted(differ)}')
  model.load_state_dict(state | new)


def to_flax(model: nn.Module) -> dict[str, Any]:
  """Returns a module's parameters and running statistics as fass_jax's tree of numpy arrays."""
  tree: dict[str, Any] = {'params': {'body': {}, 'head': {}}, 'batch_stats': {'body': {}}}
  for key, value in model.state_dict().items():
    *path, name = key.split('.')
    if name == 'num_batches_tracked':
      continue
    array = value.detach().cpu().numpy()
    if name.startswith('running_'):
      node, leaf = tree['batch_stats']['body'], name.removeprefix('running_')
    else:
      node = tree['params']['head' if path[0] == 'linear' else 'body']
      leaf = name if name == 'bias' else 'kernel' if array.ndim > 1 else 'scale'
    for part in path:
      node = node.setdefault(part, {})
    node[leaf] = _turn(array, False).copy()
  return tree


class Run:
  """A training run: model, optimiser, the padded training set and the score matrix."""

  def __init__(
    self, images: np.ndarray, labels: np.ndarray, num_classes: int, depth: int, batch_size: int,
    rho: float = 0.3, alpha: float = 0.8, lr: float = 0.1, seed: int = 0,
    channels_last: bool = True, bfloat16: bool = False, tf32: bool = True,
  ):  # fmt: skip
    self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    layout: Any = {'memory_format': torch.channels_last} if channels_last else {}
    self.model = ResNetCifar(depth, num_classes).to(self.device, **layout)
    self.net: Any = self.model  # used by the steps: the model or its compiled form
    self.optimizer = torch.optim.SGD(
      self.model.parameters(), lr, momentum=0.9, weight_decay=2e-4, fused=True
    )
    self.batch_size, self.alpha = batch_size, alpha
    self.bfloat16, self.tf32 = bfloat16, tf32
    self.pair_size = math.ceil(rho * batch_size - 1e-9)
    self.side, self.pad = images.shape[1], round(images.shape[1] / 8)
    border = ((0, 0), (self.pad, self.pad), (self.pad, self.pad), (0, 0))
    # padded once, so that a crop is a single gather
    self.images = torch.from_numpy(np.pad(images, border)).to(self.device)
    std = torch.tensor(STD, device=self.device)
    self.scale, self.shift = 1 / (255 * std), -torch.tensor(MEAN, device=self.device) / std
    count = np.bincount(labels, minlength=num_classes)
    start, beta = np.concatenate([[0], np.cumsum(count)[:-1]]), 1 - 1 / len(labels)
    weight = ((1 - beta) / (1 - beta ** count.astype(np.float64)))[labels]
    by_class = np.argsort(labels, kind='stable')
    tensors = (labels.astype(np.int64), count, start, by_class, weight, weight.cumsum())
    self.labels, self.count, self.start, self.by_class, self.weight, self.edges = (
      torch.from_numpy(x).to(self.device) for x in tensors
    )
    self.matrix = torch.zeros(num_classes, num_classes, device=self.device)
    self.sums, self.seen = torch.zeros_like(self.matrix), torch.zeros_like(self.matrix[0])
    self.known, self.ratio = self.seen > 0, self.seen + 0.5
    self.target = torch.zeros_like(self.count)
    self.loss = torch.zeros((), device=self.device)
    self.hits = torch.zeros((), dtype=torch.int64, device=self.device)
    # the first images of an epoch pad its last batch, so that all batches have the same shape
    self.order = torch.zeros(len(labels) + batch_size, dtype=torch.int64, device=self.device)
    self.place = len(labels)

  def refresh(self) -> None:
    """Computes S from the sums, and from S the target and ratio of each class."""
    # all in place, because a captured step uses fixed addresses
    fresh = self.sums / self.seen.clamp(min=1)[:, None]
    self.matrix.copy_(torch.where((self.seen > 0)[:, None], fresh, self.matrix))
    self.sums.zero_()
    self.seen.zero_()
    self.known.copy_(self.matrix.sum(1) > 0)
    own = self.matrix.diagonal()
    other, target = self.matrix.clone().fill_diagonal_(-1).max(1)
    total = own + other
    self.target.copy_(target)
    self.ratio.copy_(torch.where(total > 0, own / total.clamp(min=1e-30), 0.5))

  def plan(self) -> None:
    """Draws a new permutation at the end of an epoch; called before every step."""
    if self.place >= len(self.labels):
      order = torch.randperm(len(self.labels), device=self.device)
      self.order.copy_(torch.cat((order, order[: self.batch_size])))
      self.place = 0
    self.place += self.batch_size

  def load(self, index: torch.Tensor) -> torch.Tensor:
    """Returns randomly cropped, flipped and normalised images, float `[n, 3, H, W]`."""
    n, line = len(index), torch.arange(self.side, device=self.device)
    corner = torch.randint(0, 2 * self.pad + 1, (2, n, 1), device=self.device)
    flip = torch.rand(n, 1, device=self.device) < 0.5
    rows = corner[0] + line
    cols = corner[1] + torch.where(flip, self.side - 1 - line, line)
    x = self.images[index[:, None, None], rows[:, :, None], cols[:, None, :]]
    # the permuted view already has the memory format channels_last
    return (x.float() * self.scale + self.shift).permute(0, 3, 1, 2)

  def natural(self) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the next natural images `[B, 3, H, W]` and their labels."""
    index = self.order[self.place - self.batch_size : self.place]
    return self.load(index), self.labels[index]

  def pair(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns rebalanced images, their partners from the score matrix, and the images' labels."""
    n, classes = self.pair_size, len(self.count)
    u = torch.rand(n, device=self.device, dtype=torch.float64) * self.edges[-1]
    own = torch.searchsorted(self.edges, u, right=True).clamp(max=len(self.labels) - 1)
    y = self.labels[own]
    shift = torch.randint(1, classes, (n,), device=self.device)
    target = torch.where(self.known[y], self.target[y], (y + shift) % classes)
    rank = (torch.rand(n, device=self.device) * self.count[target]).long()
    rank = torch.minimum(rank, self.count[target] - 1)
    return self.load(own), self.load(self.by_class[self.start[target] + rank]), y

  def cutmix(self, x: torch.Tensor, partner: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """Pastes a box of the partner with area 1 - lam and uniform centre, clipped at the border."""
    half = (1 - lam).sqrt()[:, None] * self.side / 2
    line = torch.arange(self.side, device=self.device) + 0.5
    centre = torch.rand(2, len(x), 1, device=self.device) * self.side
    rows, cols = (line - centre[0]).abs() < half, (line - centre[1]).abs() < half
    return torch.where((rows[:, :, None] & cols[:, None, :])[:, None], partner, x)

  def observe(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Adds a batch to the sums of the score matrix."""
    self.sums.index_add_(0, labels, logits.float().softmax(1))
    self.seen.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float32))

  def update(self, loss: torch.Tensor) -> None:
    """Performs the backward pass and the optimiser step."""
    self.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    self.optimizer.step()
    self.loss += loss.detach()

  def fill_scores(self) -> None:
    """Refreshes the matrix early, with the current sums and one more image per class."""
    first = self.by_class[self.start]
    with torch.no_grad():
      self.observe(self.model.eval()(self.load(first)), self.labels[first])
    self.model.train()
    self.refresh()
    assert bool(self.known.all()), 'a class without scores has random partners'


def ce_step(run: Run, scored: bool = False) -> torch.Tensor:
  """Returns the loss of a natural batch; `scored`: it also updates the score matrix."""
  x, y = run.natural()
  z = run.net(x)
  run.hits += (z.detach().argmax(1) == y).sum()
  if scored:
    run.observe(z.detach(), y)
  return F.cross_entropy(z, y)


def fass_step(run: Run) -> torch.Tensor:
  """Returns the FASS loss of a natural batch, a MixUp view and a CutMix view (three passes)."""
  loss = ce_step(run, scored=True)
  x, x_t, y = run.pair()
  lam = run.ratio[y]
  share = lam[:, None, None, None]
  mixed = F.cross_entropy(run.net(share * x + (1 - share) * x_t), y)
  cut = F.cross_entropy(run.net(run.cutmix(x, x_t, lam)), y)
  return loss + run.alpha * (mixed + cut)


STEPS = {'ce': ce_step, 'fass': fass_step}


def train_step(run: Run, method: str) -> None:
  """Performs one step of a method."""
  # XLA also uses TF32 for float32 on a GPU; set in every step, because the switches are global
  torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = run.tf32
  with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bfloat16):
    loss = STEPS[method](run)
  run.update(loss)


def advance(run: Run, method: str, n: int) -> None:
  """Performs n steps and waits for the last one."""
  for _ in range(n):
    run.plan()
    train_step(run, method)
  run.loss.item()
