"""Balanced contrastive learning: a supervised contrastive loss with equal weight per class."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.losses.kinds import Loss
from fass_jax.types import Array, Context, Examples, Outputs


def unit_rows(x: Array) -> Array:
  """Returns the rows of x `[n, P]` divided by their length; a row of zeros stays as it is."""
  # bound the norm away from 0, where its gradient is infinite
  return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))


def balanced_contrastive(
  embeddings: Array,
  labels: Array,
  prototypes: Array,
  temperature: float,
  mask: Array | None = None,
) -> Array:
  """Returns the balanced contrastive loss per sample.

  The candidates A are the n samples and the C class prototypes, labelled by their class. With
  cnt_c = 1 + the number of samples of class c (class averaging; the 1 is the prototype, so that
  every class is in the sum: class complement),

    D_i = sum_{a in A, a != i} exp(z_i a / T) / (cnt_{y_a} - [y_a = y_i])
    L_i = -mean_{a in A, a != i, y_a = y_i} (z_i a / T - log D_i)

  Args:
    embeddings: float `[n, P]`, unit norm; the views of a batch are concatenated.
    labels: integer `[n]`, in 0 .. C-1.
    prototypes: float `[C, P]`, unit norm.
    temperature: T > 0.
    mask: `[n]`, 0 excludes a sample as anchor, as candidate and from cnt; None includes all.

  Returns:
    float32 `[n]` in nats, the losses L_i, 0 where the mask is 0. They are in
    [log(K) - 2/T, log(K) + 2/T], where K is the sum of 1 / (cnt - [...]) over the candidates.

  Reference: Zhu et al., Balanced Contrastive Learning for Long-Tailed Visual Recognition,
  arXiv:2207.09052.
  """
  n, num_classes = embeddings.shape[0], prototypes.shape[0]
  on = jnp.ones(n, bool) if mask is None else mask.astype(bool)
  z, p = jnp.asarray(embeddings, float), jnp.asarray(prototypes, float)
  a = jnp.concatenate([z, p])
  a_labels = jnp.concatenate([labels, jnp.arange(num_classes, dtype=labels.dtype)])
  # full precision: dividing by the temperature amplifies rounding errors by 10 or more
  sim = jnp.matmul(z, a.T, precision=jax.lax.Precision.HIGHEST) / temperature

  kept = jnp.concatenate([on, jnp.ones(num_classes, bool)])
  keep = kept[None, :] & ~jnp.eye(n, n + num_classes, dtype=bool)
  same = labels[:, None] == a_labels[None, :]
  counts = jnp.zeros(num_classes).at[labels].add(jnp.asarray(on, float)) + 1.0
  # at least 1: a masked anchor may be the only sample of its class, and 1/0 gives nan gradients
  divisor = jnp.maximum(counts[a_labels][None, :] - same, 1.0)

  # logsumexp subtracts the maximum of each row (without gradient), so nothing overflows
  log_d = jax.nn.logsumexp(sim, axis=1, b=1.0 / divisor, where=keep)
  positive = (same & keep).astype(float)
  values = log_d - (positive * sim).sum(1) / positive.sum(1)
  return jnp.where(on, values, 0.0)


def contrast(temperature: float) -> tuple[Loss]:
  """Returns `balanced_contrastive` as a loss of the normalised embeddings and prototypes."""

  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    del context
    assert outs.embedding is not None, 'the network has no projection'
    rows, prototypes = unit_rows(outs.embedding), unit_rows(outs.extra['prototypes'])
    values = balanced_contrastive(rows, examples.labels, prototypes, temperature, examples.mask)
    return values, jnp.asarray(examples.mask, float)

  return (loss,)
