"""BBN: a branch with natural sampling and one with reversed sampling, blended over the run."""

from __future__ import annotations

import jax.numpy as jnp

from fass_jax.losses.softmax import cross_entropy
from fass_jax.types import Array


def bbn_alpha(epoch: Array | int, epochs: int) -> Array:
  """Returns alpha = 1 - (t / T)^2, the share of the natural branch.

  The released code counts epochs from 1 and uses t - 1, so its t equals the one here. It replaces
  T = 90 and T = 180 by the next hundred (100 and 200); this function always divides by T.

  Args:
    epoch: t, 0-based.
    epochs: T, the epochs of the run.

  Returns:
    A float32 scalar: 1 in the first epoch, above 0 in the last.

  Reference: Zhou et al., BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed
  Visual Recognition, arXiv:1912.02413.
  """
  return 1.0 - jnp.square(jnp.asarray(epoch, float) / epochs)


def bbn_logits(natural: Array, reverse: Array, alpha: Array | float) -> Array:
  """Returns alpha z_c + (1 - alpha) z_r.

  The released code multiplies this sum by 2 in training but not at test time. The test-time mean of
  the branches corresponds to alpha = 0.5.

  Args:
    natural: float `[B, C]`, z_c, the first branch's logits for images from natural sampling.
    reverse: float `[B, C]`, z_r, the second branch's logits for images from reversed sampling.
    alpha: in [0, 1].

  Returns:
    float32 `[B, C]`.

  Reference: Zhou et al., BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed
  Visual Recognition, arXiv:1912.02413.
  """
  return alpha * jnp.asarray(natural, float) + (1.0 - alpha) * jnp.asarray(reverse, float)


def bbn_loss(logits: Array, labels: Array, alpha: Array | float) -> Array:
  """Returns 2 alpha CE(z_i, y_c,i), then 2 (1 - alpha) CE(z_i, y_r,i), with z from `bbn_logits`.

  The mean over the 2B rows equals the paper's mean over i of alpha CE + (1 - alpha) CE.

  Args:
    logits: float `[2B, 2, C]`, both branches: B natural images, then B from reversed sampling.
      Only branch 0 of the former and branch 1 of the latter enter the loss.
    labels: integer `[2B]`, y_c and y_r.
    alpha: see `bbn_alpha`.

  Returns:
    float32 `[2B]` in nats, >= 0.

  Reference: Zhou et al., BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed
  Visual Recognition, arXiv:1912.02413.
  """
  rows, branches = logits.shape[:2]
  assert rows % 2 == 0 and branches == 2, f'expected logits [2B, 2, C], got {logits.shape}'
  b = rows // 2
  z = bbn_logits(logits[:b, 0], logits[b:, 1], alpha)
  return 2.0 * jnp.concatenate(
    [alpha * cross_entropy(z, labels[:b]), (1.0 - alpha) * cross_entropy(z, labels[b:])]
  )
