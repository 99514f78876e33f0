"""MixUp and CutMix of image pairs with a mixing ratio per sample.

Pure functions of arrays that import nothing of the package, for use from any JAX loop. Images
are float `[B, H, W, 3]` in any range (the package mixes after normalising); `lam` is the share
of the first image, float `[B]` in [0, 1]. Every mix has the signature
`(key, x, partner, lam) -> (mixed, lam_real)`, where `lam_real` is the share that came out.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def mixup(key: Array | None, x: Array, partner: Array, lam: Array) -> tuple[Array, Array]:
  """Blends two images: x_m = lam * x_b + (1 - lam) * x_t.

  Args:
    key: unused; every mix takes one.
    x: float `[B, H, W, 3]`, the images x_b; or features `[B, ...]` (Manifold MixUp).
    partner: of the same shape, the images x_t.
    lam: float `[B]`.

  Returns:
    The blend, of that shape, and `lam` itself.

  Thesis: Eq. (6). Reference: Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018; of features, Verma, Lamb,
  Beckham, Najafi, Mitliagkas, Lopez-Paz, Bengio, ICML 2019.
  """
  del key
  blend = jax.vmap(lambda a, b, share: share * a + (1.0 - share) * b)
  return blend(x, partner, lam.astype(x.dtype)), lam


def cutmix_mask(key: Array, height: int, width: int, lam: Array) -> Array:
  """Draws the box of one CutMix: area 1 - lam, side ratio sqrt(1 - lam), clipped at the border.

  The centre is uniform over the image and a pixel belongs to the box if its centre lies inside,
  so that a box which is not clipped covers 1 - lam of the image on average, at any size.
  (The usual code truncates the sides to an even number of pixels and so pastes less.)

  Args:
    key: a PRNG key.
    height: H in pixels.
    width: W in pixels.
    lam: float scalar in [0, 1].

  Returns:
    bool `[H, W]`, True where the partner shows: the mask M.

  Reference: Yun, Han, Oh, Chun, Choe, Yoo, ICCV 2019.
  """
  ratio = jnp.sqrt(jnp.clip(1.0 - lam, 0.0, 1.0))
  cy, cx = jax.random.uniform(key, (2,))
  rows = jnp.abs((jnp.arange(height) + 0.5) - cy * height) < ratio * height / 2
  cols = jnp.abs((jnp.arange(width) + 0.5) - cx * width) < ratio * width / 2
  return rows[:, None] & cols[None, :]


def cutmix(key: Array, x: Array, partner: Array, lam: Array) -> tuple[Array, Array]:
  """Pastes a box of the partner: x_c = x_b * (1 - M) + x_t * M.

  Args:
    key: a PRNG key; every sample draws its own box.
    x: float `[B, H, W, 3]`, the images x_b.
    partner: float `[B, H, W, 3]`, the images x_t.
    lam: float `[B]`; the box has area 1 - lam before it is clipped.

  Returns:
    The images `[B, H, W, 3]` and the share of x that is left, `lam_real [B] >= lam` up to one
    row and column of pixels.

  Thesis: Eq. (7). Reference: Yun, Han, Oh, Chun, Choe, Yoo, ICCV 2019.
  """
  batch, height, width, _ = x.shape
  keys = jax.random.split(key, batch)
  mask = jax.vmap(lambda k, share: cutmix_mask(k, height, width, share))(keys, lam)
  lam_real = 1.0 - jnp.asarray(mask, float).mean(axis=(1, 2))
  return jnp.where(mask[..., None], partner, x), lam_real


def cutmix_batch(key: Array, x: Array, partner: Array, lam: Array) -> tuple[Array, Array]:
  """Pastes the same box in every image of the batch: `cutmix` where `lam` is one for all.

  Args:
    key: a PRNG key.
    x: float `[B, H, W, 3]`.
    partner: float `[B, H, W, 3]`.
    lam: float `[B]`; boxes of unequal ratios share their centre alone.

  Returns:
    As `cutmix`.
  """
  _, height, width, _ = x.shape
  mask = jax.vmap(lambda share: cutmix_mask(key, height, width, share))(lam)
  lam_real = 1.0 - jnp.asarray(mask, float).mean(axis=(1, 2))
  return jnp.where(mask[..., None], partner, x), lam_real


def single_label(y_b: Array, y_t: Array, lam: Array) -> tuple[Array, Array, Array]:
  """Labels a mix with the class of its first image alone: y_m = y_c = y_b.

  Args:
    y_b: integer `[B]`.
    y_t: integer `[B]`, unused: the partner's class is background.
    lam: float `[B]`, unused.

  Returns:
    The pair target `(y_b, y_b, 1)`.

  Thesis: Eq. (8a).
  """
  del y_t
  return y_b, y_b, jnp.ones_like(lam)


def mixed_label(y_b: Array, y_t: Array, lam: Array) -> tuple[Array, Array, Array]:
  """Labels a mix with both classes, y_b with weight lam and y_t with 1 - lam.

  Args:
    y_b: integer `[B]`.
    y_t: integer `[B]`.
    lam: float `[B]`, the share that came out of the mix.

  Returns:
    The pair target `(y_b, y_t, lam)`.

  Reference: Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018.
  """
  return y_b, y_t, lam
