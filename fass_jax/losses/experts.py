"""RIDE: a margin loss per expert, and a term that rewards diversity among the experts."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.losses.margins import ldam
from fass_jax.types import Array


def ride_temperature(counts: Array, factor: float) -> Array:
  """Returns T_c = r_c / max_k r_k with r_c = f C n_c / N + 1 - f; rare classes have lower T_c.

  Args:
    counts: `[C]`, training images per class.
    factor: f in [0, 1); 0 gives ones.

  Returns:
    float32 `[C]`, in (0, 1]. The mean of T is the T-bar of the paper.

  Reference: Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809.
  """
  n = jnp.asarray(counts, float)
  raw = n * (n.shape[0] / n.sum()) * factor + (1.0 - factor)
  return raw / raw.max()


def diversity(
  logits: Array, counts: Array, temperature_factor: float, t_active: Array | bool
) -> Array:
  """Returns mean(T)^2 KL(sg softmax(z_mean / T) || softmax(z_e / T)) per expert.

  T divides the logits per class; no gradient flows through the distribution of the mean. With a
  negative factor in the objective, the experts become more diverse.

  Args:
    logits: float `[B, E, C]`, at the scale used at test time.
    counts: `[C]`, training images per class.
    temperature_factor: f of `ride_temperature`.
    t_active: True: T is `ride_temperature`; False: T = 1. May be traced.

  Returns:
    float32 `[B, E]` in nats, >= 0 up to rounding; 0 for E = 1.

  Reference: Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809.
  """
  temperature = jnp.where(t_active, ride_temperature(counts, temperature_factor), 1.0)
  z = jnp.asarray(logits, float)
  mean = jax.lax.stop_gradient(
    jax.nn.log_softmax(z.mean(axis=1, keepdims=True) / temperature[None, None, :])
  )
  own = jax.nn.log_softmax(z / temperature[None, None, :])
  return jnp.square(temperature.mean()) * (jnp.exp(mean) * (mean - own)).sum(-1)


def ride(
  logits: Array,
  labels: Array,
  counts: Array,
  scale: float,
  max_margin: float,
  gamma: float,
  factor: float,
  late: Array | bool,
) -> tuple[Array, Array]:
  """Returns the two parts of RIDE's first stage: sum_e LDAM(z_e) and gamma sum_e diversity_e.

  The parts are separate because their means differ: class weights (DRW) apply to the first part
  only, as sum(w_y l) / sum(w_y); the second is a plain mean over the batch. With gamma = 0 the
  experts are independent.

  Args:
    logits: float `[B, E, C]`, scaled by the cosine head.
    labels: integer `[B]`.
    counts: `[C]`, training images per class.
    scale: s of the cosine head; it scales the margins.
    max_margin: margin of the rarest class.
    gamma: factor of the diversity: -0.45 for CIFAR, -0.2 for ImageNet and iNaturalist.
    factor: f of `ride_temperature`: 0.05 for CIFAR, 0.02 for the others.
    late: True once reweighting has started; class temperatures start then too. May be traced.

  Returns:
    float32 `[B]` in nats, >= 0, and float32 `[B]` with the sign of gamma.

  Reference: Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809.
  """
  each = jax.vmap(lambda z: ldam(z, labels, counts, scale, max_margin), in_axes=1, out_axes=1)
  apart = diversity(logits, counts, factor, late)
  return each(logits).sum(axis=1), gamma * apart.sum(axis=1)
