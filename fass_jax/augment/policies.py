"""Fixed policies: AutoAugment, RandAugment, RIDE's rotation, SimCLR's augmentation, blur.

Ops take `(key, images uint8 [B, H, W, 3], strength [B])`; strength 0 means no op, and all other
values are equivalent. Lengths are fractions of the image's side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.augment import geometry, pixels
from fass_jax.augment.choose import Op, apply_each, plain
from fass_jax.augment.crop_flip import random_flip
from fass_jax.augment.jitter import color_jitter
from fass_jax.augment.resample import resample, table
from fass_jax.types import Array


def _on(strength: Array, changed: Array, images: Array) -> Array:
  """Selects the changed image where the strength is not 0."""
  return jnp.where(pixels.spread(strength != 0), changed, images)


# AutoAugment and RandAugment


def _translate_x(images: Array, fraction: Array) -> Array:
  """Shifts images by a fraction `[B]` of the width, truncated to whole pixels."""
  return geometry.translate_x(images, jnp.trunc(fraction * images.shape[2]))


def _translate_y(images: Array, fraction: Array) -> Array:
  """Shifts images by a fraction `[B]` of the height, truncated to whole pixels."""
  return geometry.translate_y(images, jnp.trunc(fraction * images.shape[1]))


def _enhance(op: Op) -> Op:
  """Returns an op with the factor 1 + value, so that value 0 is the identity."""
  return lambda images, value: op(images, 1 + value)


# name: the op, its magnitude at both ends of the range, whether the sign is random
SPACE: dict[str, tuple[Op, float, float, bool]] = {
  'ShearX': (geometry.shear_x, 0, 0.3, True),
  'ShearY': (geometry.shear_y, 0, 0.3, True),
  'TranslateX': (_translate_x, 0, 150 / 331, True),
  'TranslateY': (_translate_y, 0, 150 / 331, True),
  'Rotate': (geometry.rotate, 0, 30, True),
  'Brightness': (_enhance(pixels.brightness), 0, 0.9, True),
  'Color': (_enhance(pixels.color), 0, 0.9, True),
  'Contrast': (_enhance(pixels.contrast), 0, 0.9, True),
  'Sharpness': (_enhance(pixels.sharpness), 0, 0.9, True),
  'Posterize': (pixels.posterize, 8, 4, False),
  'Solarize': (pixels.solarize, 255, 0, False),
  'AutoContrast': (plain(pixels.autocontrast), 0, 0, False),
  'Equalize': (plain(pixels.equalize), 0, 0, False),
  'Invert': (plain(pixels.invert), 0, 0, False),  # not in RandAugment's space
  'Identity': (plain(lambda images: images), 0, 0, False),  # not in AutoAugment's
}
NAMES = list(SPACE)
OPS = [op for op, *_ in SPACE.values()]
SIGNED = np.array([signed for *_, signed in SPACE.values()])

# 25 sub-policies of two ops: name, probability, magnitude bin 0 .. 9
CIFAR10_POLICY = (
  (('Invert', 0.1, 0), ('Contrast', 0.2, 6)),
  (('Rotate', 0.7, 2), ('TranslateX', 0.3, 9)),
  (('Sharpness', 0.8, 1), ('Sharpness', 0.9, 3)),
  (('ShearY', 0.5, 8), ('TranslateY', 0.7, 9)),
  (('AutoContrast', 0.5, 0), ('Equalize', 0.9, 0)),
  (('ShearY', 0.2, 7), ('Posterize', 0.3, 7)),
  (('Color', 0.4, 3), ('Brightness', 0.6, 7)),
  (('Sharpness', 0.3, 9), ('Brightness', 0.7, 9)),
  (('Equalize', 0.6, 0), ('Equalize', 0.5, 0)),
  (('Contrast', 0.6, 7), ('Sharpness', 0.6, 5)),
  (('Color', 0.7, 7), ('TranslateX', 0.5, 8)),
  (('Equalize', 0.3, 0), ('AutoContrast', 0.4, 0)),
  (('TranslateY', 0.4, 3), ('Sharpness', 0.2, 6)),
  (('Brightness', 0.9, 6), ('Color', 0.2, 8)),
  (('Solarize', 0.5, 2), ('Invert', 0.0, 0)),
  (('Equalize', 0.2, 0), ('AutoContrast', 0.6, 0)),
  (('Equalize', 0.2, 0), ('Equalize', 0.6, 0)),
  (('Color', 0.9, 9), ('Equalize', 0.6, 0)),
  (('AutoContrast', 0.8, 0), ('Solarize', 0.2, 8)),
  (('Brightness', 0.1, 3), ('Color', 0.7, 0)),
  (('Solarize', 0.4, 5), ('AutoContrast', 0.9, 0)),
  (('TranslateY', 0.9, 9), ('TranslateY', 0.7, 9)),
  (('AutoContrast', 0.9, 0), ('Solarize', 0.8, 3)),
  (('Equalize', 0.8, 0), ('Invert', 0.1, 0)),
  (('TranslateY', 0.7, 9), ('AutoContrast', 0.9, 0)),
)


def magnitude(name: str, share: float) -> float:
  """Returns an op's magnitude low + (high - low) share for a share in 0 .. 1."""
  _, low, high, _ = SPACE[name]
  value = low + (high - low) * share
  return round(value) if name == 'Posterize' else value


@functools.cache
def policy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the CIFAR-10 policy: ops int32, probabilities and magnitudes float32, all `[25, 2]`."""
  names, chance, bins = zip(*(op for pair in CIFAR10_POLICY for op in pair))
  ops = np.array([NAMES.index(name) for name in names], np.int32)
  values = np.array([magnitude(name, b / 9) for name, b in zip(names, bins)], np.float32)
  return ops.reshape(25, 2), np.array(chance, np.float32).reshape(25, 2), values.reshape(25, 2)


def _with_sign(key: Array, ops: Array, values: Array) -> Array:
  """Negates the magnitude of a signed op with probability 1/2."""
  minus = jax.random.bernoulli(key, 0.5, ops.shape) & jnp.asarray(SIGNED)[ops]
  return jnp.where(minus, -values, values)


def _in_turn(
  images: Array, strength: Array, index: Array, value: Array, serial: bool | None
) -> Array:
  """Applies the ops `[B, n]` of `OPS` in order, to images with a strength other than 0."""
  index = jnp.where((strength != 0)[:, None], index, len(OPS))

  def body(i: Array, images: Array) -> Array:
    return apply_each(OPS, index[:, i], images, value[:, i], serial)

  return jax.lax.fori_loop(0, index.shape[1], body, images)


def autoaugment_draw(key: Array, batch: int) -> tuple[Array, Array]:
  """Draws two ops per image: indices into `OPS` (len(OPS): no op) and magnitudes, each `[B, 2]`."""
  krow, kcoin, ksign = jax.random.split(key, 3)
  ops, chance, values = (jnp.asarray(a) for a in policy())
  row = jax.random.randint(krow, (batch,), 0, len(ops))
  on = jax.random.uniform(kcoin, (batch, 2)) < chance[row]
  return jnp.where(on, ops[row], len(OPS)), _with_sign(ksign, ops[row], values[row])


def autoaugment(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
  """Applies one of AutoAugment's 25 sub-policies for CIFAR-10: two ops, each with its probability.

  Ranges and black borders are torchvision's; the authors' code fills with a mean colour.

  Args:
    key: a PRNG key.
    images: uint8 `[B, H, W, 3]`.
    strength: `[B]`, 0 for the identity.
    serial: see `apply_each`.

  Returns:
    uint8 `[B, H, W, 3]`.

  Reference: Cubuk et al., AutoAugment: Learning Augmentation Policies from Data, arXiv:1805.09501.
  """
  return _in_turn(images, strength, *autoaugment_draw(key, len(images)), serial)


def randaugment_draw(key: Array, batch: int, n: int, m: float) -> tuple[Array, Array]:
  """Draws n of 14 ops per image: int32 `[B, n]` indices into `OPS`, and magnitudes `[B, n]`."""
  kop, ksign = jax.random.split(key)
  space = jnp.array([i for i, name in enumerate(NAMES) if name != 'Invert'])
  values = jnp.array([magnitude(name, m / 30) for name in NAMES], jnp.float32)
  index = space[jax.random.randint(kop, (batch, n), 0, len(space))]
  return index, _with_sign(ksign, index, values[index])


def rand_augment(n: int = 2, m: float = 9) -> Callable[..., Array]:
  """Returns the op that applies n of 14 ops, drawn uniformly, with magnitude m in 0 .. 30.

  The ranges are torchvision's.

  Reference: Cubuk et al., RandAugment: Practical automated data augmentation with a reduced search
  space, arXiv:1909.13719.
  """

  def op(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
    return _in_turn(images, strength, *randaugment_draw(key, len(images), n, m), serial)

  return op


def rotation15(key: Array, images: Array, strength: Array) -> Array:
  """Rotates each image by an angle uniform in -15 .. 15 degrees, with black corners, as in RIDE.

  Reference: Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts,
  arXiv:2010.01809.
  """
  angle = jax.random.uniform(key, strength.shape, minval=-15, maxval=15)
  return _on(strength, geometry.rotate(images, angle), images)


# SimCLR


def crop_boxes(
  key: Array, batch: int, height: int, width: int, scale: tuple[float, float]
) -> tuple[Array, Array, Array, Array]:
  """Draws boxes with a share of the area in `scale` and a log-uniform aspect ratio in 3/4 .. 4/3.

  The result is the first of ten draws that fits, or else the largest centred box with an aspect
  ratio in these bounds.

  Returns:
    top, left, rows, columns: int32 `[B]`, pixels.
  """
  karea, kratio, ky, kx = jax.random.split(key, 4)
  low, high = scale
  area = jax.random.uniform(karea, (batch, 10), minval=low, maxval=high) * (height * width)
  edge = np.log(4 / 3)
  ratio = jnp.exp(jax.random.uniform(kratio, (batch, 10), minval=-edge, maxval=edge))
  h, w = jnp.round(jnp.sqrt(area / ratio)), jnp.round(jnp.sqrt(area * ratio))
  fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
  first = jnp.argmax(fits, 1)[:, None]
  found = fits.any(1)
  whole = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
  rows, columns = (
    jnp.where(found, jnp.take_along_axis(d, first, 1)[:, 0], full).astype(jnp.int32)
    for d, full in zip((h, w), whole)
  )
  top, left = (
    jnp.where(found, jax.random.randint(k, (batch,), 0, side - size + 1), (side - size) // 2)
    for k, side, size in ((ky, height, rows), (kx, width, columns))
  )
  return top, left, rows, columns


def resized(images: Array, top: Array, left: Array, rows: Array, columns: Array) -> Array:
  """Enlarges each image's box to the size of the image, bilinear, rounded to bytes."""

  def along(side: int, start: Array, size: Array) -> tuple[Array, Array]:
    first, weight = table(tuple((s, side) for s in range(1, side + 1)), 'bilinear', side)
    return jnp.asarray(first)[size - 1] + start[:, None], jnp.asarray(weight)[size - 1]

  height, width = images.shape[1:3]
  return resample(images, along(height, top, rows), along(width, left, columns))


def simclr(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
  """Applies SimCLR's crop (0.2 .. 1 of the area), flip, colour jitter (p = 0.8) and grey (p = 0.2).

  The op replaces crop and flip. Its distribution and arithmetic are torchvision's on Pillow images.

  Reference: Chen et al., A Simple Framework for Contrastive Learning of Visual Representations,
  arXiv:2002.05709.
  """
  kbox, kflip, kjitter, kon, kgrey = jax.random.split(key, 5)
  batch, height, width = images.shape[:3]
  x = resized(images, *crop_boxes(kbox, batch, height, width, (0.2, 1)))
  x = random_flip(kflip, x)
  x = color_jitter(kjitter, x, jax.random.bernoulli(kon, 0.8, (batch,)), serial)
  greyed = pixels.spread(jax.random.bernoulli(kgrey, 0.2, (batch,)))
  return _on(strength, jnp.where(greyed, pixels.grey(x), x), images)


def blur(key: Array, images: Array, strength: Array) -> Array:
  """Blurs half of the images, with a standard deviation uniform in .1 .. 2 pixels, as MoCo v2 does.

  The arithmetic is Pillow's.

  Reference: Chen et al., Improved Baselines with Momentum Contrastive Learning, arXiv:2003.04297.
  """
  kon, ksigma = jax.random.split(key)
  on = jax.random.bernoulli(kon, 0.5, strength.shape) & (strength != 0)
  sigma = jax.random.uniform(ksigma, strength.shape, minval=0.1, maxval=2.0)
  return pixels.gaussian_blur(images, jnp.where(on, sigma, 0.0))
