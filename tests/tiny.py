"""A small network with nothing left out, for tests that need one of every kind but not its size.

Two convolutions take the place of the residual blocks; the heads, the experts, the projection, the
batch normalisation and what holds its statistics still are those of the package.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from fass_jax import nets
from fass_jax.nets.base import BACKBONES
from fass_jax.nets.inputs import INPUTS
from fass_jax.nets.layers import Arithmetic, conv, in_branches
from fass_jax.nets.norm import BatchNorm

CHANNELS = 8


class Tiny(nn.Module):
  """`[B, H, W, 3] -> [B, 8]`, or `[B, E, 8]`; the second convolution is each expert's own.

  Narrower experts have 6 channels there.
  """

  experts: int = 1
  reduced: bool = True
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, pooled: bool = True) -> jax.Array:
    def one(x: jax.Array, stage: int, place: int, prefix: str, narrow: bool) -> jax.Array:
      features = CHANNELS * 3 // 4 if narrow else CHANNELS
      name = f'{prefix}stage{stage}'
      x = conv(features, 3, stage, f'{name}_conv', self.how)(x)
      return jax.nn.relu(BatchNorm(name=f'{name}_bn')(x, train))

    blocks = [(1, 0), (2, 0)]
    x = jnp.asarray(x, self.how.dtype)
    return in_branches(x, blocks, one, self.experts, 1, self.reduced, pooled)


def use_tiny_net(patch):
  """Puts the two convolutions in the place of every backbone of images; the heads are real."""

  def body(depth, experts, reduced, branch, how):
    return Tiny(experts, reduced, how)

  for name in BACKBONES.keys() - INPUTS.keys():  # those for images
    patch.setitem(BACKBONES, name, body)


def jitted(net):
  """Returns a network whose passes are programs: one compilation instead of one an operation."""
  init = jax.jit(net.init, static_argnums=1)
  embed, head = (jax.jit(part, static_argnums=2) for part in (net.embed, net.head))
  return net._replace(init=init, embed=embed, head=head, maps=net.maps and jax.jit(net.maps))


def built(*args, **how):
  """Returns the network that `nets.build` returns, see `jitted`."""
  return jitted(nets.build(*args, **how))
