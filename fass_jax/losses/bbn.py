"""BBN: two branches, one fed by natural and one by reversed sampling, blended over the run."""

from __future__ import annotations

import jax.numpy as jnp

from fass_jax.losses.softmax import log_loss
from fass_jax.types import Array


def bbn_alpha(epoch: Array | int, epochs: int) -> Array:
  """Returns alpha = 1 - (t / T)^2: the share of the natural branch.

  Args:
    epoch: t, 0-based; the paper's code counts from 1 and takes T - 1.
    epochs: T of the run.

  Returns:
    A float32 scalar, 1 in the first epoch, above 0 in the last.

  Reference: Zhou, Cui, Wei, Chen, CVPR 2020.
  """
  return 1.0 - jnp.square(jnp.asarray(epoch, float) / epochs)


def bbn_logits(natural: Array, reverse: Array, alpha: Array | float) -> Array:
  """Returns alpha z_c + (1 - alpha) z_r.

  The released code has twice that, which its test time, without the factor, takes back; the mean
  of the branches at test time is alpha = 0.5.

  Args:
    natural: float `[B, C]`, z_c, the first branch on images drawn as they come.
    reverse: float `[B, C]`, z_r, the second on images of reversed class frequencies.
    alpha: in [0, 1].

  Returns:
    float32 `[B, C]`.

  Reference: Zhou, Cui, Wei, Chen, CVPR 2020.
  """
  return alpha * jnp.asarray(natural, float) + (1.0 - alpha) * jnp.asarray(reverse, float)


def bbn_loss(logits: Array, labels: Array, alpha: Array | float) -> Array:
  """Returns 2 alpha CE(z_i, y_c,i), then 2 (1 - alpha) CE(z_i, y_r,i), z of `bbn_logits`.

  The mean over the 2B rows is the paper's mean over i of the sum of both.

  Args:
    logits: float `[2B, 2, C]`: B rows of natural images, then B of reversed ones, through both
      branches; the other branch of a row is not asked.
    labels: integer `[2B]`, y_c and y_r.
    alpha: of `bbn_alpha`.

  Returns:
    float32 `[2B]` in nats, >= 0.

  Reference: Zhou, Cui, Wei, Chen, CVPR 2020.
  """
  rows, branches = logits.shape[:2]
  assert rows % 2 == 0 and branches == 2, f'{logits.shape} is not two views of two branches'
  b = rows // 2
  z = bbn_logits(logits[:b, 0], logits[b:, 1], alpha)
  return 2.0 * jnp.concatenate(
    [alpha * log_loss(z, labels[:b]), (1.0 - alpha) * log_loss(z, labels[b:])]
  )
