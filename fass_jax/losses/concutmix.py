"""ConCutMix: labels of CutMix images, moved towards the classes whose centres are near."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fass_jax.losses.kinds import Loss, Use
from fass_jax.losses.prior import soft_logit_adjustment
from fass_jax.types import Array, Context, Examples, Outputs, Time


def rectify_labels(
  targets: Array, features: Array, centres: Array, counts: Array, k: int, omega: Array | float
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

  Reference: Pan et al., Enhanced Long-Tailed Recognition with Contrastive CutMix Augmentation,
  arXiv:2407.04911.
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


def rectified_la(
  tau: float, k: int, omega: float, share: float | Callable[[Time], Array]
) -> tuple[Loss]:
  """Returns logit adjustment with rectified labels, a loss that reads the pair targets.

  The label of an un-mixed image stays its class. That of a mixed image is lam a + (1 - lam) b,
  corrected by `rectify_labels` with share(t) omega; with share 0 or omega 0 the loss is
  lam LA(a) + (1 - lam) LA(b).

  Args:
    tau: see `prior.logit_adjustment`.
    k: nearest classes, see `rectify_labels`.
    omega: see `rectify_labels`.
    share: the share of omega over time, in [0, 1].

  Reference: Pan et al., Enhanced Long-Tailed Recognition with Contrastive CutMix Augmentation,
  arXiv:2407.04911.
  """

  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    assert outs.embedding is not None, 'the network has no projection'
    centres, counts, pair = outs.extra['prototypes'], context.classes.count, examples.targets
    lam = pair.lam[:, None]
    a, b = (jax.nn.one_hot(y, centres.shape[0]) for y in (pair.a, pair.b))
    area = lam * a + (1.0 - lam) * b
    now = omega * (share(context.time) if callable(share) else share)
    moved = rectify_labels(area, outs.embedding, centres, counts, k, now)
    label = jnp.where(lam < 1.0, moved, area)
    values = soft_logit_adjustment(outs.logits.mean(axis=1), label, counts, tau)
    return values, jnp.ones_like(values)

  return (loss,)


def needs_time(use: Use) -> str:
  """Returns a message if the run ends before the labels are corrected."""
  c, epochs = use.config.loss_args.rectified_la, use.config.epochs
  pairs = ((0, c.share),) if isinstance(c.share, int | float) else c.share
  # a `when` below 1 is a fraction of the run
  begins = [w * epochs if isinstance(w, float) and w < 1 else w for w, v in pairs if v > 0]
  if not c.omega or (begins and min(begins) <= epochs - 1):
    return ''
  return (
    f'The labels of {use.name.lower()} would never be corrected in {epochs} epochs; set more '
    '--config.epochs, an earlier --config.loss_args.rectified_la.share, or '
    '--config.loss_args.rectified_la.omega=0.'
  )
