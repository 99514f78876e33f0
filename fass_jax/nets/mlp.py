"""Network for rows of numbers: fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import linen as nn

from fass_jax.nets.layers import Arithmetic, he_normal, in_branches, wide
from fass_jax.nets.norm import BatchNorm
from fass_jax.types import UserError


class MLP(nn.Module):
  """Backbone `[B, F] -> features [B, D]`: x <- relu(bn(x W)) per layer; D is the last width.

  With several experts, the last `own` layers are separate per expert, with 3/4 of the width if
  `reduced`: `[B, E, D]`.

  Reference: He et al., Delving Deep into Rectifiers, arXiv:1502.01852, for W ~ N(0, sqrt(2 / fan));
  Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, arXiv:2106.11959, for the use
  on tables.
  """

  hidden: Sequence[int] = (128, 128)
  experts: int = 1
  own: int = 2
  reduced: bool = True
  how: Arithmetic = Arithmetic()

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Returns the features, float32 `[B, D]`, or `[B, E, D]` with experts."""

    def one(x: jax.Array, layer: int, block: int, prefix: str, narrow: bool) -> jax.Array:
      width = self.hidden[layer] * 3 // 4 if narrow else self.hidden[layer]
      x = nn.Dense(
        width,
        use_bias=False,  # of the normalisation
        kernel_init=he_normal,
        dtype=self.how.dtype,
        param_dtype=wide(self.how.dtype),
        precision=self.how.precision,
        name=f'{prefix}dense{layer}',
      )(x)
      return jax.nn.relu(BatchNorm(name=f'{prefix}bn{layer}')(x, train))

    layers = [(layer, 0) for layer in range(len(self.hidden))]
    own = min(self.own, len(layers))
    x = x.astype(self.how.dtype)
    return in_branches(x, layers, one, self.experts, own, self.reduced, pooled=False)


def mlp(hidden: Sequence[int], experts: int, reduced: bool, branch: str, how: Arithmetic) -> MLP:
  """Builds an `MLP`; `branch` is the experts' part: 'stages' (two layers) or the last 'block'.

  Raises:
    UserError: if there is no layer.
  """
  if not hidden:
    raise UserError(
      '--config.net.hidden=() has no layer; give the widths, such as --config.net.hidden="(64,)".'
    )
  own = 1 if branch == 'block' else 2
  return MLP(hidden=tuple(hidden), experts=experts, own=own, reduced=reduced, how=how)
