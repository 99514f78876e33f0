"""Knowledge distillation: a network follows the softened predictions of another one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def distillation(student: Array, teacher: Array, temperature: float) -> Array:
  """Returns T^2 KL(softmax(teacher / T) || softmax(student / T)), without the teacher's gradient.

  T^2 keeps the size of the gradient, softmax(student / T) - softmax(teacher / T) times T.

  Args:
    student: float `[B, C]`, the mean of the experts.
    teacher: float `[B, C]`, likewise.
    temperature: T > 0.

  Returns:
    float32 `[B]` in nats, >= 0 up to rounding; 0 where both agree.

  Reference: Hinton, Vinyals, Dean, 2015; with T = 1.5, Wang, Lian, Miao, Liu, Yu, ICLR 2021.
  """
  p = jax.nn.log_softmax(jnp.asarray(jax.lax.stop_gradient(teacher), float) / temperature)
  q = jax.nn.log_softmax(jnp.asarray(student, float) / temperature)
  return temperature**2 * (jnp.exp(p) * (p - q)).sum(-1)
