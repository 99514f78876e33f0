"""Residual networks for large images: ResNet v1.5 and ResNeXt."""

from __future__ import annotations

import functools

import jax
from flax import linen as nn

from fass_jax.nets.layers import Arithmetic, conv, he_normal_out, in_branches
from fass_jax.nets.norm import BatchNorm
from fass_jax.nets.pooling import max_pool
from fass_jax.types import UserError

# depth -> blocks in each of the four layers
BLOCKS: dict[int, tuple[int, int, int, int]] = {
  10: (1, 1, 1, 1),  # usual for ImageNet-LT, but not in the ResNet paper
  18: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
  152: (3, 8, 36, 3),
}
EXPANSION = 4  # output channels of a bottleneck / planes

_conv = functools.partial(conv, initial=he_normal_out)


def _shortcut(x: jax.Array, features: int, stride: int, how: Arithmetic, train: bool) -> jax.Array:
  """Applies shortcut option B: 1x1 convolution and batch normalisation if the shape changes."""
  if stride == 1 and x.shape[-1] == features:
    return x
  x = _conv(features, 1, stride, 'downsample_conv', how)(x)
  return BatchNorm(name='downsample_bn')(x, train)


class Basic(nn.Module):
  """Two 3x3 convolutions, the first with the stride."""

  planes: int
  stride: int
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps `[B, H, W, F]` to `[B, H / stride, W / stride, planes]`."""
    y = _conv(self.planes, 3, self.stride, 'conv1', self.how)(x)
    y = jax.nn.relu(BatchNorm(name='bn1')(y, train))
    y = _conv(self.planes, 3, 1, 'conv2', self.how)(y)
    y = BatchNorm(name='bn2')(y, train)
    return jax.nn.relu(y + _shortcut(x, self.planes, self.stride, self.how, train))


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolutions; the 3x3 has the stride (v1.5; in the paper, the first 1x1).

  The inner convolutions have planes * width / 64 channels per group of the 3x3.
  """

  planes: int
  stride: int
  groups: int = 1
  width: int = 64
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps `[B, H, W, F]` to `[B, H / stride, W / stride, 4 planes]`."""
    inner, outer = self.planes * self.width // 64 * self.groups, EXPANSION * self.planes
    y = _conv(inner, 1, 1, 'conv1', self.how)(x)
    y = jax.nn.relu(BatchNorm(name='bn1')(y, train))
    y = _conv(inner, 3, self.stride, 'conv2', self.how, groups=self.groups)(y)
    y = jax.nn.relu(BatchNorm(name='bn2')(y, train))
    y = _conv(outer, 1, 1, 'conv3', self.how)(y)
    y = BatchNorm(name='bn3')(y, train)
    return jax.nn.relu(y + _shortcut(x, outer, self.stride, self.how, train))


class ResNet(nn.Module):
  """Backbone `[B, H, W, 3] -> features [B, D]`: D = 512 with basic blocks, 2048 with bottlenecks.

  Parameters, shapes and initial values are torchvision's: with a head for 1000 classes, depth 18
  has 11,689,512 parameters, depth 50 25,557,032, ResNeXt-50 32x4d 25,028,904. With several experts,
  the stem and the first blocks are shared, and the last `own` blocks are separate per expert (RIDE:
  layers 3 and 4; BBN: the last block). If `reduced`, these have 3/4 of the channels: `[B, E, 3/4
  D]`.

  Reference: He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385; groups: Xie
  et al., Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431; experts:
  Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809, and Zhou et al., BBN: Bilateral-Branch Network with Cumulative Learning for
  Long-Tailed Visual Recognition, arXiv:1912.02413.
  """

  depth: int = 50
  groups: int = 1
  width: int = 64  # channels per group in layer 1
  experts: int = 1
  reduced: bool = True
  own: int = 9
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, pooled: bool = True) -> jax.Array:
    """Returns pooled features, float32 `[B, D]`, or `[B, E, D']` with experts, or feature maps."""
    x = _conv(64, 7, 2, 'conv1', self.how)(x.astype(self.how.dtype))
    x = jax.nn.relu(BatchNorm(name='bn1')(x, train))
    x = max_pool(x)
    blocks = [(layer, b) for layer in (1, 2, 3, 4) for b in range(BLOCKS[self.depth][layer - 1])]

    def one(x: jax.Array, layer: int, block: int, prefix: str, narrow: bool) -> jax.Array:
      planes = 32 * 2**layer
      planes = planes * 3 // 4 if narrow else planes
      # the first block of layers 2, 3 and 4 halves the size
      stride = 2 if layer > 1 and block == 0 else 1
      name = f'{prefix}layer{layer}_block{block}'
      if self.depth < 50:
        return Basic(planes, stride, self.how, name=name)(x, train)
      return Bottleneck(planes, stride, self.groups, self.width, self.how, name=name)(x, train)

    return in_branches(x, blocks, one, self.experts, self.own, self.reduced, pooled)


def _own(depth: int, branch: str) -> int:
  """Returns the number of last blocks that are separate per expert."""
  return 1 if branch == 'block' else sum(BLOCKS[depth][2:])


def resnet(depth: int, experts: int, reduced: bool, branch: str, how: Arithmetic) -> ResNet:
  """Builds a `ResNet` with a depth in `BLOCKS`; `branch` ('stages', 'block') is the experts' part.

  Raises:
    UserError: if the depth is not in `BLOCKS`.
  """
  _check(depth, 'resnet', tuple(BLOCKS))
  own = _own(depth, branch)
  return ResNet(depth=depth, experts=experts, reduced=reduced, own=own, how=how)


def resnext(depth: int, experts: int, reduced: bool, branch: str, how: Arithmetic) -> ResNet:
  """Builds ResNeXt-50 with 32 groups of 4 channels; `branch` is as for `resnet`.

  Raises:
    UserError: if the depth is not 50.
  """
  _check(depth, 'resnext', (50,))
  own = _own(depth, branch)
  return ResNet(depth=depth, groups=32, width=4, experts=experts, reduced=reduced, own=own, how=how)


def _check(depth: int, backbone: str, known: tuple[int, ...]) -> None:
  if depth not in known:
    raise UserError(
      f'--config.net.depth={depth} does not exist for --config.net.backbone={backbone}; use '
      f'{" or ".join(filter(None, (", ".join(map(str, known[:-1])), str(known[-1]))))}.'
    )
