"""DODA's memory: for each class, which of ten augmentations went along with better recognition."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array, Inspector, Outputs, Signal, Targets

OPS = 10


class OpWeights(NamedTuple):
  """The state of the signal."""

  weight: Array  # int32 [C, 10], at least 1
  op: Array  # int32 [C], the op of each class in this epoch
  hits: Array  # float32 [C], right predictions of the running epoch's forwards
  last: Array  # float32 [C], of the epoch before


def update_weights(weight: Array, op: Array, hits: Array, last: Array) -> Array:
  """Returns the weights after an epoch: w[c, k_c] + 1 where hits grew, - 1 where they fell.

  Never below 1; equal counts change nothing.

  Args:
    weight: int32 `[C, 10]`.
    op: int32 `[C]`, k_c.
    hits: float `[C]`.
    last: float `[C]`.

  Reference: Wang et al., ICLR 2024.
  """
  step = jnp.sign(hits - last).astype(jnp.int32)
  own = jax.nn.one_hot(op, weight.shape[1], dtype=jnp.int32)
  return jnp.maximum(weight + own * step[:, None], 1)


def op_weights(view: str, chance: float, start: float, epochs: int) -> Signal:
  """Builds the signal; it sets the strength of the op 'doda', which is the number of an op.

  Every epoch each class draws one op by its weights; an image of the class gets it with
  probability `chance`. The weights follow the right predictions of the training forwards from
  the epoch after `start` on.

  Args:
    view: the view whose forwards are counted.
    chance: in [0, 1].
    start: share of the run before the weights change.
    epochs: length of the run.

  Reference: Wang et al., ICLR 2024.
  """

  def init(num_classes: int) -> OpWeights:
    # the first epoch's ops: every class another one, in turn
    op = jnp.arange(num_classes, dtype=jnp.int32) % OPS
    zeros = jnp.zeros((num_classes,), float)
    weight = jnp.ones((num_classes, OPS), jnp.int32)
    return OpWeights(weight, op, zeros, jnp.zeros_like(zeros))

  def observe(state: OpWeights, outs: Outputs, targets: Targets, mask: Array) -> OpWeights:
    right = (outs.logits.mean(axis=1).argmax(-1) == targets.a) & mask
    return state._replace(hits=state.hits.at[targets.a].add(jnp.asarray(right, float)))

  @jax.jit
  def advance(state: OpWeights, key: Array, epoch: Array) -> OpWeights:
    new = update_weights(state.weight, state.op, state.hits, state.last)
    weight = jnp.where(epoch > start * epochs, new, state.weight)
    op = jax.random.categorical(key, jnp.log(jnp.asarray(weight, float)), axis=-1)
    return OpWeights(weight, op.astype(jnp.int32), jnp.zeros_like(state.hits), state.hits)

  def refresh(state: OpWeights, inspector: Inspector, key: Array, epoch: Array) -> OpWeights:
    del inspector
    return advance(state, key, epoch)

  def strength(state: OpWeights, key: Array, labels: Array) -> Array:
    on = jax.random.bernoulli(key, chance, labels.shape)
    return jnp.where(on, state.op[labels] + 1, 0).astype(float)

  def describe(old: OpWeights, new: OpWeights) -> dict[str, float]:
    del old
    return {'op_weight_max': float(np.asarray(new.weight).max())}

  return Signal(view, init, observe, refresh, describe, 'doda', strength)
