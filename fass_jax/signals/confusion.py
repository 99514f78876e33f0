"""The confusion of the classes during training, as a mean over steps that a loss differentiates."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array, Inspector, Outputs, Signal, Targets


class Confusion(NamedTuple):
  """The state of the signal."""

  matrix: Array  # float32 [C, C], row predicted, column true
  seen: Array  # bool [C], columns that a batch has filled


def soft_confusion(
  logits: Array,
  labels: Array,
  num_classes: int,
  *,
  temperature: float = 1.0,
  margin: float = 0.0,
  gate_gradient: bool = False,
  mask: Array | None = None,
) -> Array:
  """Returns the differentiable confusion of a batch: column j tells what images of class j become.

    c_ij = mean over samples of class j of sigmoid(margin + z_i - z_j) softmax(z / temperature)_i

  with c_jj = 0. A perfect classifier has c = 0.

  Args:
    logits: float `[B, C]`, z.
    labels: integer `[B]`.
    num_classes: C.
    temperature: > 0, of the softmax alone.
    margin: added to the difference of the logits.
    gate_gradient: False holds the sigmoid constant, as the published program does.
    mask: bool `[B]`, True: the row counts; None: all do.

  Returns:
    float32 `[C, C]` in [0, 1], row predicted, column true; the columns of absent classes are 0.

  Reference: CAR, confusion-aware spectral regularisation, arXiv:2603.16732.
  """
  z = jnp.asarray(logits, float)
  on = jnp.ones(labels.shape) if mask is None else jnp.asarray(mask, float)
  own = jnp.take_along_axis(z, labels[:, None], axis=1)
  gate = jax.nn.sigmoid(margin + z - own)
  gate = gate if gate_gradient else jax.lax.stop_gradient(gate)
  wrong = 1.0 - jax.nn.one_hot(labels, num_classes)
  # where: a masked row may be inf or nan, and 0 * nan is nan
  rows = jnp.where(on[:, None] > 0, wrong * gate * jax.nn.softmax(z / temperature), 0.0)
  sums = jnp.zeros((num_classes, num_classes)).at[labels].add(rows)
  counts = jnp.zeros(num_classes).at[labels].add(on)
  return (sums / jnp.maximum(counts, 1.0)[:, None]).T


def moving_mean(
  state: Confusion, batch: Array, present: Array, decay: float, absent: str, begin: str
) -> Confusion:
  """Returns C' = decay C + (1 - decay) c for the confusion c of a batch; C is held constant.

  Args:
    state: C, and the columns that have been filled.
    batch: float `[C, C]`, c, see `soft_confusion`.
    present: bool `[C]`, the classes in the batch; with none, C stays as it is.
    decay: in [0, 1).
    absent: 'zero' moves the columns of absent classes towards 0, as the published program does;
      'keep' leaves them.
    begin: 'first': a column's first value is that of the batch, without gradient; 'zero': it is
      (1 - decay) c.

  Reference: CAR, confusion-aware spectral regularisation, arXiv:2603.16732.
  """
  old = jax.lax.stop_gradient(state.matrix)
  moves = present if absent == 'keep' else jnp.broadcast_to(present.any(), present.shape)
  new = decay * old + (1.0 - decay) * batch
  if begin == 'first':
    new = jnp.where(state.seen[None, :], new, jax.lax.stop_gradient(batch))
  return Confusion(jnp.where(moves[None, :], new, old), state.seen | moves)


class Parameters(NamedTuple):
  """How a batch enters the confusion; see `soft_confusion` and `moving_mean`."""

  temperature: float
  margin: float
  gate_gradient: bool
  decay: float
  absent: str
  begin: str


def update(
  state: Confusion, outs: Outputs, labels: Array, mask: Array, how: Parameters
) -> Confusion:
  """Returns the state after a batch, with the gradient of the batch's share.

  Args:
    state: the state before the batch.
    outs: the network's outputs; the mean of the experts' logits counts.
    labels: integer `[B]`.
    mask: `[B]`, 0 excludes a sample.
    how: the parameters.
  """
  num_classes, on = state.seen.shape[0], jnp.asarray(mask, float)
  batch = soft_confusion(
    outs.logits.mean(axis=1),
    labels,
    num_classes,
    temperature=how.temperature,
    margin=how.margin,
    gate_gradient=how.gate_gradient,
    mask=on > 0,
  )
  present = jnp.zeros(num_classes).at[labels].add(on) > 0
  return moving_mean(state, batch, present, how.decay, how.absent, how.begin)


def confusion(view: str, *parameters: Any) -> Signal:
  """Returns the signal: the mean confusion of the un-mixed images of a view.

  Args:
    view: the view with the predictions.
    *parameters: those of `Parameters`, in its order.
  """
  how = Parameters(*parameters)

  def init(num_classes: int) -> Confusion:
    return Confusion(jnp.zeros((num_classes, num_classes)), jnp.zeros((num_classes,), bool))

  def observe(state: Confusion, outs: Outputs, targets: Targets, mask: Array) -> Confusion:
    return update(state, outs, targets.a, targets.unmixed(mask), how)

  def refresh(state: Confusion, inspector: Inspector, key: Array, epoch: Array) -> Confusion:
    del inspector, key, epoch
    return state

  def describe(old: Confusion, new: Confusion) -> dict[str, float]:
    del old
    return {'confusion_norm': float(np.linalg.norm(np.asarray(new.matrix), 2))}

  return Signal(view, init, observe, refresh, describe)
