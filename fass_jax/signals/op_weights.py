"""DODA's op weights: per class, a weight for each of ten augmentation ops."""

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
  hits: Array  # float32 [C], correct training predictions in this epoch
  last: Array  # float32 [C], correct training predictions in the previous epoch


def update_weights(weight: Array, op: Array, hits: Array, last: Array) -> Array:
  """Returns max(w[c, k_c] + sign(hits_c - last_c), 1) for the op k_c of each class.

  Args:
    weight: int32 `[C, 10]`, w.
    op: int32 `[C]`, k_c.
    hits: float `[C]`, correct predictions in this epoch.
    last: float `[C]`, correct predictions in the previous epoch.

  Returns:
    int32 `[C, 10]`; only the weights at (c, k_c) change.

  Reference: Wang et al., Kill Two Birds with One Stone: Rethinking Data Augmentation for Deep
  Long-tailed Learning, ICLR 2024.
  """
  step = jnp.sign(hits - last).astype(jnp.int32)
  own = jax.nn.one_hot(op, weight.shape[1], dtype=jnp.int32)
  return jnp.maximum(weight + own * step[:, None], 1)


def op_weights(view: str, chance: float, start: float, epochs: int) -> Signal:
  """Returns the signal, which sets the strength of the op 'doda', i.e. the number of an op.

  In every epoch each class draws one op with probability proportional to its weights, and an image
  of the class has this op with probability `chance`. From the epoch after `start` on, the number of
  correct training predictions updates the weights.

  Args:
    view: the view with the predictions that are counted.
    chance: in [0, 1].
    start: share of the run before the weights change.
    epochs: epochs of the run.

  Reference: Wang et al., Kill Two Birds with One Stone: Rethinking Data Augmentation for Deep
  Long-tailed Learning, ICLR 2024.
  """

  def init(num_classes: int) -> OpWeights:
    # in the first epoch the classes cycle through the ops
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
