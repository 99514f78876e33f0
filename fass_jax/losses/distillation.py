"""Knowledge distillation: a student network learns a teacher's softened predictions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def distillation(student: Array, teacher: Array, temperature: float, power: float = 1.0) -> Array:
  """Returns T^2 KL(p || softmax(student / T)) with p ~ softmax(teacher / T)^power.

  No gradient flows through p. The factor T^2 makes the gradient T (softmax(student / T) - p), so
  its size stays comparable across temperatures. A power below 1 flattens the teacher's distribution
  and so raises the share of rare classes (DiVE); power 1 is plain distillation.

  Args:
    student: float `[B, C]`, the student's logits, averaged over its experts.
    teacher: float `[B, C]`, the teacher's logits, averaged over its experts.
    temperature: T > 0.
    power: > 0.

  Returns:
    float32 `[B]` in nats, >= 0 up to rounding; at power 1, 0 where student and teacher agree.

  Reference: Hinton et al., Distilling the Knowledge in a Neural Network, arXiv:1503.02531. T = 1.5:
  Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809. T = 2, power 1/2: He et al., Distilling Virtual Examples for Long-tailed
  Recognition, arXiv:2103.15042.
  """
  z = jnp.asarray(jax.lax.stop_gradient(teacher), float)
  # softmax(z)^power, normalised to sum 1, equals softmax(power z)
  p = jax.nn.log_softmax(z * (power / temperature))
  q = jax.nn.log_softmax(jnp.asarray(student, float) / temperature)
  return temperature**2 * (jnp.exp(p) * (p - q)).sum(-1)
