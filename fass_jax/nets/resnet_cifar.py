"""Residual network of depth 6n + 2 for small images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from fass_jax.nets.layers import Arithmetic, conv, in_branches
from fass_jax.nets.norm import BatchNorm
from fass_jax.types import UserError


class BasicBlock(nn.Module):
  """Two 3x3 convolutions with the parameter-free shortcut (option A).

  If the size halves, the shortcut subsamples every second pixel and pads the new channels with
  zeros, half of them before and half after the old channels.
  """

  features: int
  stride: int
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps `[B, H, W, F]` to `[B, H / stride, W / stride, features]`."""
    y = conv(self.features, 3, self.stride, 'conv1', self.how)(x)
    y = jax.nn.relu(BatchNorm(name='bn1')(y, train))
    y = conv(self.features, 3, 1, 'conv2', self.how)(y)
    y = BatchNorm(name='bn2')(y, train)
    if self.stride != 1 or x.shape[-1] != self.features:
      pad = (self.features - x.shape[-1]) // 2
      x = jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (pad, pad)))
    return jax.nn.relu(x + y)


class ResNetCifar(nn.Module):
  """Backbone `[B, H, W, 3] -> features [B, 64]`: three stages of (depth - 2) / 6 blocks.

  Depth 32 with a head for 10 or 100 classes has 464,154 or 470,004 parameters. With several
  experts, the stem and the first blocks are shared, and the last `own` blocks are separate per
  expert (RIDE: stages 2 and 3; BBN: the last block). If `reduced`, these have 3/4 of the channels:
  `[B, E, 48]`.

  Reference: He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385, section 4.2;
  initialisation: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin
  Loss, arXiv:1906.07413; experts: Wang et al., Long-tailed Recognition by Routing Diverse
  Distribution-Aware Experts, arXiv:2010.01809, and Zhou et al., BBN: Bilateral-Branch Network with
  Cumulative Learning for Long-Tailed Visual Recognition, arXiv:1912.02413.
  """

  depth: int = 32
  experts: int = 1
  reduced: bool = True
  own: int = 10
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, pooled: bool = True) -> jax.Array:
    """Returns pooled features, float32 `[B, 64]`, or `[B, E, 48]` with experts, or feature maps."""
    x = conv(16, 3, 1, 'conv1', self.how)(x.astype(self.how.dtype))
    x = jax.nn.relu(BatchNorm(name='bn1')(x, train))
    each = (self.depth - 2) // 6
    blocks = [(stage, block) for stage in (1, 2, 3) for block in range(each)]

    def one(x: jax.Array, stage: int, block: int, prefix: str, narrow: bool) -> jax.Array:
      features = 8 * 2**stage
      features = features * 3 // 4 if narrow else features
      # the first block of stages 2 and 3 halves the size
      stride = 2 if stage > 1 and block == 0 else 1
      name = f'{prefix}stage{stage}_block{block}'
      return BasicBlock(features, stride, self.how, name=name)(x, train)

    return in_branches(x, blocks, one, self.experts, self.own, self.reduced, pooled)


def resnet_cifar(
  depth: int, experts: int, reduced: bool, branch: str, how: Arithmetic
) -> ResNetCifar:
  """Builds a `ResNetCifar`; `branch` is the experts' part: 'stages' (2 and 3) or the last 'block'.

  Raises:
    UserError: if the depth is not 6n + 2.
  """
  if depth < 8 or (depth - 2) % 6:
    near = max(8, 6 * round((depth - 2) / 6) + 2)
    raise UserError(f'--config.net.depth={depth} is not 6n + 2; the nearest depth is {near}.')
  own = 1 if branch == 'block' else 2 * ((depth - 2) // 6)
  return ResNetCifar(depth=depth, experts=experts, reduced=reduced, own=own, how=how)
