"""RIDE: several experts, each with its own margin loss, and a term on how they differ."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.losses.margins import ldam
from fass_jax.types import Array


def ride_temperature(counts: Array, factor: float) -> Array:
  """Returns T_c = (C n_c / N f + 1 - f) / max_k(the same): rare classes have lower ones.

  Args:
    counts: `[C]`, training images of each class.
    factor: f in [0, 1); 0 gives ones.

  Returns:
    float32 `[C]`, in (0, 1]. The T-bar of the loss is its mean.

  Reference: Wang, Lian, Miao, Liu, Yu, ICLR 2021.
  """
  n = jnp.asarray(counts, float)
  raw = n * (n.shape[0] / n.sum()) * factor + (1.0 - factor)
  return raw / raw.max()


def diversity(
  logits: Array, counts: Array, temperature_factor: float, t_active: Array | bool
) -> Array:
  """Returns mean(T)^2 KL(sg softmax(z_mean / T) || softmax(z_e / T)) for each expert.

  T divides the logits class by class; no gradient flows through the mean's distribution. A
  negative factor before it drives the experts apart.

  Args:
    logits: float `[B, E, C]`, at the scale used at test time.
    counts: `[C]`, training images of each class.
    temperature_factor: f of `ride_temperature`.
    t_active: whether T is that of `ride_temperature`; else T = 1. May be traced.

  Returns:
    float32 `[B, E]` in nats, >= 0 up to rounding; 0 for E = 1.

  Reference: Wang, Lian, Miao, Liu, Yu, ICLR 2021.
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

  They are apart because they are averaged apart: class weights (DRW) enter the first alone, as
  sum(w_y l) / sum(w_y); the second has the plain mean over the batch. gamma = 0 leaves
  independent experts.

  Args:
    logits: float `[B, E, C]`, at the scale of the head.
    labels: integer `[B]`.
    counts: `[C]`, training images of each class.
    scale: s of the head, for the margins.
    max_margin: margin of the rarest class.
    gamma: factor of the diversity: -0.45 for CIFAR, -0.2 for ImageNet and iNaturalist.
    factor: f of `ride_temperature`: 0.05 for CIFAR, 0.02 for the others.
    late: whether the reweighting has begun; the class temperatures begin with it. May be traced.

  Returns:
    float32 `[B]` in nats >= 0, and float32 `[B]` of gamma's sign.

  Reference: Wang, Lian, Miao, Liu, Yu, ICLR 2021.
  """
  each = jax.vmap(lambda z: ldam(z, labels, counts, scale, max_margin), in_axes=1, out_axes=1)
  apart = diversity(logits, counts, factor, late)
  return each(logits).sum(axis=1), gamma * apart.sum(axis=1)
