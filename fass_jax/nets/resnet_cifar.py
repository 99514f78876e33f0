"""The residual network of depth 6n + 2 for small images."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from fass_jax.nets.convolution import Convolution, direct
from fass_jax.nets.norm import BatchNorm

# N(0, sqrt(2 / fan_in)); flax's he_normal is a *truncated* normal
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')


class Arithmetic(NamedTuple):
  """How the convolutions of a network are computed; parameters are float32 whatever it says."""

  dtype: Any = jnp.float32  # of the activations
  precision: jax.lax.Precision | None = None  # of products of float32 numbers
  convolve: Convolution = direct


def _conv(features: int, stride: int, name: str, how: Arithmetic) -> nn.Conv:
  # explicit padding: 'SAME' pads stride-2 convolutions on one side only
  return nn.Conv(
    features,
    (3, 3),
    (stride, stride),
    padding=((1, 1), (1, 1)),
    use_bias=False,
    kernel_init=he_normal,
    dtype=how.dtype,
    precision=how.precision,
    conv_general_dilated=how.convolve,
    name=name,
  )


class BasicBlock(nn.Module):
  """Two 3x3 convolutions with the parameter-free shortcut (option A).

  Where the size halves, the shortcut takes every second pixel and pads the new channels with
  zeros, half of them on each side.
  """

  features: int
  stride: int
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps `[B, H, W, F]` to `[B, H / stride, W / stride, features]`."""
    y = _conv(self.features, self.stride, 'conv1', self.how)(x)
    y = jax.nn.relu(BatchNorm(name='bn1')(y, train))
    y = _conv(self.features, 1, 'conv2', self.how)(y)
    y = BatchNorm(name='bn2')(y, train)
    if self.stride != 1 or x.shape[-1] != self.features:
      pad = (self.features - x.shape[-1]) // 2
      x = jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (pad, pad)))
    return jax.nn.relu(x + y)


class ResNetCifar(nn.Module):
  """Backbone `[B, H, W, 3] -> features [B, 64]`: three stages of (depth - 2) / 6 blocks.

  Depth 32 with a head for 10 or 100 classes has 464,154 or 470,004 parameters.

  Reference: He, Zhang, Ren, Sun, CVPR 2016, section 4.2; Cao et al., NeurIPS 2019 (its init).
  """

  depth: int = 32
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Returns the pooled features, float32 `[B, 64]`."""
    x = _conv(16, 1, 'conv1', self.how)(x.astype(self.how.dtype))
    x = jax.nn.relu(BatchNorm(name='bn1')(x, train))
    for stage, features in enumerate((16, 32, 64)):
      for block in range((self.depth - 2) // 6):
        stride = 2 if stage > 0 and block == 0 else 1
        x = BasicBlock(features, stride, self.how, name=f'stage{stage + 1}_block{block}')(x, train)
    return x.astype(jnp.float32).mean(axis=(1, 2))
