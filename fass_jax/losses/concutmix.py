"""ConCutMix: labels of CutMix images, corrected by how near the image is to the class centres."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.types import Array


def rectify_labels(
  targets: Array, features: Array, centres: Array, counts: Array, k: int, omega: float
) -> Array:
  """Returns (1 - w omega) t + w omega s, the area label t moved towards a semantic label s.

  With the distances d_c of an image to the class centres, s_c is 1 / d_c for the k nearest centres
  and 0 for the others, divided by its sum. The weight is larger for labels of frequent classes:

    w = log(sum_c n_c t_c) / sum_c log n_c

  Args:
    targets: float `[B, C]`, t; each row sums to 1.
    features: float `[B, P]`, of the mixed images, before they are normalised.
    centres: float `[C, P]`, one per class, before they are normalised.
    counts: `[C]`, n, training images per class; 0 counts as 1.
    k: >= 1; above C it is C.
    omega: >= 0, small enough that w omega is at most 1; 0 returns t.

  Returns:
    float32 `[B, C]`, rows sum to 1; features and centres have no gradient.

  Reference: ConCutMix, https://github.com/PanHaulin/ConCutMix.
  """
  t, n = jnp.asarray(targets, float), jnp.maximum(jnp.asarray(counts, float), 1.0)
  x, m = (jax.lax.stop_gradient(jnp.asarray(v, float)) for v in (features, centres))
  distance = jnp.linalg.norm(x[:, None, :] - m[None, :, :], axis=-1)
  # at least 1e-6: an image may be a centre
  near, index = jax.lax.top_k(1.0 / jnp.maximum(distance, 1e-6), min(k, m.shape[0]))
  share = near / near.sum(axis=1, keepdims=True)
  semantic = jnp.zeros_like(t).at[jnp.arange(t.shape[0])[:, None], index].set(share)
  total = jnp.log(n).sum()
  # classes of one image each have log n = 0, and nothing moves
  w = jnp.log((t * n[None, :]).sum(axis=1)) / jnp.where(total > 0, total, 1.0)
  moved = (w * omega)[:, None]
  return (1.0 - moved) * t + moved * semantic
