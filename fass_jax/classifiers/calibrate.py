"""Temperature: logits over one number, so that their softmax is as sure as it is right."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.types import Array

LOW, HIGH = -10.0, 10.0  # of log T
STEPS = 48  # each leaves .618 of the interval: 2e-9 of it remain
RATIO = (5**0.5 - 1) / 2


def nll(logits: Array, labels: Array, shift: Array, log_t: Array) -> Array:
  """Returns the mean of -log softmax(z / T + shift)_y, float.

  Args:
    logits: float `[H, C]`.
    labels: integer `[H]`.
    shift: `[C]`, -inf for a class that does not come.
    log_t: scalar.
  """
  log_p = jax.nn.log_softmax(logits * jnp.exp(-log_t) + shift[None], axis=-1)
  return -jnp.take_along_axis(log_p, labels[:, None], axis=-1).mean()


@jax.jit
def temperature(logits: Array, labels: Array, shift: Array) -> Array:
  """Returns T > 0 with the least NLL, by golden sections of log T in [-10, 10].

  The NLL is convex in 1 / T, so it has one valley. `shift` moves the logits to the prior that the
  images have: where the network's logits imply another one, as after a loss that takes the prior
  out, an unmoved NLL would take the wrong prior for too much certainty.

  Args:
    logits: float `[H, C]`.
    labels: integer `[H]`.
    shift: `[C]`, log prior of the images less the log prior that the logits imply.

  Returns:
    scalar; 1 where every image is named right, so that the NLL only falls as T does.

  Reference: Guo, Pleiss, Sun, Weinberger, ICML 2017.
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
