"""MixUp and CutMix of image pairs with one mixing ratio per sample.

Pure functions of arrays for use in any JAX loop; this module imports nothing else from the package.
Images are float `[B, H, W, 3]` in any range (the package mixes normalised images); `lam`, float
`[B]` in [0, 1], is the requested share of the first image. Every mix has the signature
`(key, x, partner, lam) -> (mixed, lam_real)`, where `lam_real` is the share of the first image in
the result.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def mixup(key: Array | None, x: Array, partner: Array, lam: Array) -> tuple[Array, Array]:
  """Blends two images: x_m = lam * x_b + (1 - lam) * x_t.

  Args:
    key: unused; part of the common signature.
    x: float `[B, H, W, 3]`, the images x_b; or rows or features `[B, ...]` (Manifold Mixup).
    partner: same shape as x, the images x_t.
    lam: float `[B]`.

  Returns:
    The blend, same shape as x, and `lam`.

  Thesis: Eq. (6). Reference: Zhang et al., mixup: Beyond Empirical Risk Minimization,
  arXiv:1710.09412; for features, Verma et al., Manifold Mixup: Better Representations by
  Interpolating Hidden States, arXiv:1806.05236.
  """
  del key
  blend = jax.vmap(lambda a, b, share: share * a + (1.0 - share) * b)
  return blend(x, partner, lam.astype(x.dtype)), lam


def cutmix_mask(key: Array, height: int, width: int, lam: Array) -> Array:
  """Draws the box of one CutMix: each side is sqrt(1 - lam) of the image's, clipped at the border.

  The centre is uniform over the image, and a pixel belongs to the box if the pixel's centre is
  inside. A box that is not clipped therefore covers 1 - lam of the image on average, at any size.
  (The published code truncates the sides to an even number of pixels and so pastes less.)

  Args:
    key: a PRNG key.
    height: H in pixels.
    width: W in pixels.
    lam: float scalar in [0, 1].

  Returns:
    bool `[H, W]`, the mask M: True where the partner is pasted.

  Reference: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with
  Localizable Features, arXiv:1905.04899.
  """
  ratio = jnp.sqrt(jnp.clip(1.0 - lam, 0.0, 1.0))
  cy, cx = jax.random.uniform(key, (2,))
  rows = jnp.abs((jnp.arange(height) + 0.5) - cy * height) < ratio * height / 2
  cols = jnp.abs((jnp.arange(width) + 0.5) - cx * width) < ratio * width / 2
  return rows[:, None] & cols[None, :]


def cutmix(key: Array, x: Array, partner: Array, lam: Array) -> tuple[Array, Array]:
  """Pastes a box of the partner: x_c = x_b * (1 - M) + x_t * M.

  Args:
    key: a PRNG key; each sample draws its own box.
    x: float `[B, H, W, 3]`, the images x_b.
    partner: float `[B, H, W, 3]`, the images x_t.
    lam: float `[B]`; the box has area 1 - lam before it is clipped.

  Returns:
    The images `[B, H, W, 3]` and the remaining share of x, `lam_real [B] >= lam` up to one row and
    one column of pixels.

  Thesis: Eq. (7). Reference: Yun et al., CutMix: Regularization Strategy to Train Strong
  Classifiers with Localizable Features, arXiv:1905.04899.
  """
  batch, height, width, _ = x.shape
  keys = jax.random.split(key, batch)
  mask = jax.vmap(lambda k, share: cutmix_mask(k, height, width, share))(keys, lam)
  lam_real = 1.0 - jnp.asarray(mask, float).mean(axis=(1, 2))
  return jnp.where(mask[..., None], partner, x), lam_real


def cutmix_batch(key: Array, x: Array, partner: Array, lam: Array) -> tuple[Array, Array]:
  """Pastes a box at the same place in every image of the batch; otherwise as `cutmix`.

  Args:
    key: a PRNG key.
    x: float `[B, H, W, 3]`.
    partner: float `[B, H, W, 3]`.
    lam: float `[B]`; boxes of samples with unequal lam have the same centre but unequal sizes.

  Returns:
    The images `[B, H, W, 3]` and the remaining share of x, `lam_real [B]`, as in `cutmix`.
  """
  _, height, width, _ = x.shape
  mask = jax.vmap(lambda share: cutmix_mask(key, height, width, share))(lam)
  lam_real = 1.0 - jnp.asarray(mask, float).mean(axis=(1, 2))
  return jnp.where(mask[..., None], partner, x), lam_real


def single_label(y_b: Array, y_t: Array, lam: Array) -> tuple[Array, Array, Array]:
  """Labels a mixed image with the class of its first image only: y_m = y_c = y_b.

  Args:
    y_b: integer `[B]`.
    y_t: integer `[B]`, unused, because the partner serves as background.
    lam: float `[B]`, unused.

  Returns:
    The pair target `(y_b, y_b, 1)`.

  Thesis: Eq. (8a).
  """
  del y_t
  return y_b, y_b, jnp.ones_like(lam)


def mixed_label(y_b: Array, y_t: Array, lam: Array) -> tuple[Array, Array, Array]:
  """Labels a mixed image with both classes: y_b with weight lam, y_t with weight 1 - lam.

  Args:
    y_b: integer `[B]`.
    y_t: integer `[B]`.
    lam: float `[B]`, `lam_real` of the mix.

  Returns:
    The pair target `(y_b, y_t, lam)`.

  Reference: Zhang et al., mixup: Beyond Empirical Risk Minimization, arXiv:1710.09412.
  """
  return y_b, y_t, lam
