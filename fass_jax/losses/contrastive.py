"""Balanced contrastive learning: a supervised contrast in which every class weighs the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def balanced_contrastive(
  embeddings: Array,
  labels: Array,
  prototypes: Array,
  temperature: float,
  mask: Array | None = None,
) -> Array:
  """Returns the balanced contrastive loss of each sample.

  The candidates A are the n samples and the C prototypes; a prototype has its class as label.
  With cnt_c = 1 + the samples of class c (class averaging; the 1 is the prototype, which also
  puts every class into the sum: class complement),

    D_i = sum_{a in A, a != i} exp(z_i a / T) / (cnt_{y_a} - [y_a = y_i])
    L_i = -mean_{a in A, a != i, y_a = y_i} (z_i a / T - log D_i)

  Args:
    embeddings: float `[n, P]`, of length 1; the views of a batch one after another.
    labels: integer `[n]`, in 0 .. C-1.
    prototypes: float `[C, P]`, of length 1.
    temperature: T > 0.
    mask: `[n]` or None for all; a sample where it is 0 is no anchor, no candidate and not
      counted.

  Returns:
    float32 `[n]`, the losses L_i, 0 where the mask is 0; in
    [log(K) - 2/T, log(K) + 2/T] with K the sum of 1 / (cnt - [...]) over the candidates.

  Reference: Zhu, Wang, Chen, Chen, Jiang, CVPR 2022.
  """
  n, num_classes = embeddings.shape[0], prototypes.shape[0]
  on = jnp.ones(n, bool) if mask is None else mask.astype(bool)
  z, p = jnp.asarray(embeddings, float), jnp.asarray(prototypes, float)
  a = jnp.concatenate([z, p])
  a_labels = jnp.concatenate([labels, jnp.arange(num_classes, dtype=labels.dtype)])
  # in full precision: the temperature multiplies a rounding error by 10 and more
  sim = jnp.matmul(z, a.T, precision=jax.lax.Precision.HIGHEST) / temperature

  kept = jnp.concatenate([on, jnp.ones(num_classes, bool)])
  keep = kept[None, :] & ~jnp.eye(n, n + num_classes, dtype=bool)
  same = labels[:, None] == a_labels[None, :]
  counts = jnp.zeros(num_classes).at[labels].add(jnp.asarray(on, float)) + 1.0
  # at least 1: a masked anchor may be the only one of its class, and 1/0 ends in a nan gradient
  divisor = jnp.maximum(counts[a_labels][None, :] - same, 1.0)

  # logsumexp subtracts the row's maximum, through which no gradient flows
  log_d = jax.nn.logsumexp(sim, axis=1, b=1.0 / divisor, where=keep)
  positive = (same & keep).astype(float)
  values = log_d - (positive * sim).sum(1) / positive.sum(1)
  return jnp.where(on, values, 0.0)
