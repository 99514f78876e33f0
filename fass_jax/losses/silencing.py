"""Balanced softmax over target and auxiliary classes, in which neighbours compete less."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.losses.kinds import Loss, Use
from fass_jax.types import Array, Context, Examples, Outputs


def ns_loss(
  logits: Array, labels: Array, counts: Array, neighbours: Array, silence: float
) -> Array:
  """Returns -log(n_y e^z_y / sum_j s_yj n_j e^z_j), with s = `silence` for the neighbours of y.

  For all other classes, and for y itself, s is 1. A target class and its fine-grained auxiliary
  neighbours look alike: pushed apart as strongly as other classes, they would unlearn what they
  share.

  Args:
    logits: float `[B, K]`, z, of the T target and the A auxiliary classes; K = T + A.
    labels: integer `[B]`, y.
    counts: `[K]`, n, training images per class; an empty class is not in the sum.
    neighbours: bool `[K, K]`, True where class j is a neighbour of class y.
    silence: in [0, 1]; 1 is the balanced softmax, 0 leaves the neighbours out.

  Returns:
    float32 `[B]` in nats, >= 0.

  Reference: the form is derived from a description of Learning from Neighbors: Category
  Extrapolation for Long-Tail Learning, arXiv:2410.15980, which has no code.
  """
  z, n = jnp.asarray(logits, float), jnp.asarray(counts, float)
  own = jax.nn.one_hot(labels, z.shape[-1], dtype=bool)
  # the label counts as one image where its class is empty, as in losses/prior.py
  weight = jnp.where(own, jnp.maximum(n, 1.0)[None, :], n[None, :])
  weight = jnp.where(jnp.asarray(neighbours, bool)[labels] & ~own, silence * weight, weight)
  # relative to the label: exact where the logits are large, and never below 0
  difference = z - jnp.take_along_axis(z, labels[:, None], axis=-1)
  weight = weight / jnp.maximum(n, 1.0)[labels][:, None]
  # where: a class without weight has neither value nor gradient
  return jax.nn.logsumexp(difference, axis=-1, b=weight, where=weight > 0)


def silenced(silence: float) -> tuple[Loss]:
  """Returns `ns_loss` with the neighbours of the data set.

  Args:
    silence: see `ns_loss`.
  """

  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    counts, neighbours = context.classes.count, context.classes.neighbours
    assert neighbours is not None, 'the data set has no auxiliary classes'
    values = ns_loss(outs.logits.mean(axis=1), examples.labels, counts, neighbours, silence)
    return values, jnp.ones_like(values)

  return (loss,)


def needs_neighbours(use: Use) -> str:
  """Returns a message unless the data set has auxiliary classes."""
  d = use.config.data
  if d.auxiliary and d.neighbours and d.auxiliary_images:
    return ''
  return (
    f'{use.name} needs auxiliary classes: give --config.data.auxiliary=DIR, a folder with one '
    'folder of images per class, and --config.data.neighbours=FILE.'
  )
