"""Knowledge distillation: a network follows the softened predictions of another one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def distillation(student: Array, teacher: Array, temperature: float, power: float = 1.0) -> Array:
  """Returns T^2 KL(p || softmax(student / T)), p ~ softmax(teacher / T)^power, p constant.

  T^2 keeps the size of the gradient, softmax(student / T) - p times T. A power below 1 flattens the
  teacher, who gives rare classes a larger share of its examples (DiVE); 1 is plain distillation.

  Args:
    student: float `[B, C]`, the mean of the experts.
    teacher: float `[B, C]`, likewise.
    temperature: T > 0.
    power: > 0.

  Returns:
    float32 `[B]` in nats, >= 0 up to rounding; 0 where both agree (at power 1).

  Reference: Hinton, Vinyals, Dean, 2015; with T = 1.5, Wang, Lian, Miao, Liu, Yu, ICLR 2021; with
  T = 2 and power 1/2, He, Wu, Wei, ICCV 2021.
  """
  z = jnp.asarray(jax.lax.stop_gradient(teacher), float)
  # a power of a softmax, scaled to sum 1, is the softmax of that multiple
  p = jax.nn.log_softmax(z * (power / temperature))
  q = jax.nn.log_softmax(jnp.asarray(student, float) / temperature)
  return temperature**2 * (jnp.exp(p) * (p - q)).sum(-1)
