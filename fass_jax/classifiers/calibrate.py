"""Temperature scaling: divides logits by one number, so that confidence matches accuracy."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.types import Array

LOW, HIGH = -10.0, 10.0  # bounds of log T
STEPS = 48  # each step shrinks the interval to 0.618 of its length, to 2e-9 * 20 in the end
RATIO = (5**0.5 - 1) / 2


def nll(logits: Array, labels: Array, shift: Array, log_t: Array) -> Array:
  """Returns the mean of -log softmax(z / T + shift)_y, float.

  Args:
    logits: float `[H, C]`.
    labels: integer `[H]`.
    shift: `[C]`, -inf for a class that does not occur.
    log_t: scalar, log T.
  """
  log_p = jax.nn.log_softmax(logits * jnp.exp(-log_t) + shift[None], axis=-1)
  return -jnp.take_along_axis(log_p, labels[:, None], axis=-1).mean()


@jax.jit
def temperature(logits: Array, labels: Array, shift: Array) -> Array:
  """Returns the T > 0 with the smallest NLL, by golden-section search over log T in [-10, 10].

  The NLL is convex in 1 / T, so its local minimum is the global one. `shift` moves the logits to
  the prior of the images. Some losses remove the prior from the logits; without the shift, the
  wrong prior would look like overconfidence.

  Args:
    logits: float `[H, C]`.
    labels: integer `[H]`.
    shift: `[C]`, log prior of the images minus the log prior that the logits imply.

  Returns:
    A scalar; 1 if the NLL has no minimum because all images are classified correctly.

  Reference: Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599.
  """
  value = functools.partial(nll, logits, labels, shift)

  def step(i: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
    low, high = ends
    left, right = high - RATIO * (high - low), low + RATIO * (high - low)
    lower = value(left) <= value(right)
    return jnp.where(lower, low, left), jnp.where(lower, right, high)

  ends = jnp.asarray(LOW, float), jnp.asarray(HIGH, float)
  low, high = jax.lax.fori_loop(0, STEPS, step, ends)
  return jnp.where(low == LOW, 1.0, jnp.exp((low + high) / 2))
