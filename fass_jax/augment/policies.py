"""Fixed policies: AutoAugment, RandAugment, RIDE's rotation, the view of SimCLR.

Ops take `(key, images uint8 [B, H, W, 3], strength [B])`; strength 0 leaves an image as it is,
any other value plays no part. Every pixel length is a fraction of the side.
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
  """Takes the changed image where the strength is not 0."""
  return jnp.where(pixels.spread(strength != 0), changed, images)


# AutoAugment and RandAugment


def _translate_x(images: Array, fraction: Array) -> Array:
  """Moves by a fraction `[B]` of the width, cut to whole pixels."""
  return geometry.translate_x(images, jnp.trunc(fraction * images.shape[2]))


def _translate_y(images: Array, fraction: Array) -> Array:
  """Moves by a fraction `[B]` of the height, cut to whole pixels."""
  return geometry.translate_y(images, jnp.trunc(fraction * images.shape[1]))


def _enhance(op: Op) -> Op:
  """Counts a factor from 1, the identity."""
  return lambda images, value: op(images, 1 + value)


# name: the op, its magnitude at shares 0 and 1 of the range, whether the sign is drawn
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

# 25 sub-policies of two ops: name, probability, bin 0 .. 9 of the magnitude
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
  """Returns an op's magnitude at a share 0 .. 1 of its range: low + (high - low) share."""
  _, low, high, _ = SPACE[name]
  value = low + (high - low) * share
  return round(value) if name == 'Posterize' else value


@functools.cache
def policy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns ops int32, probabilities and magnitudes float32 of the CIFAR-10 policy, `[25, 2]`."""
  names, chance, bins = zip(*(op for pair in CIFAR10_POLICY for op in pair))
  ops = np.array([NAMES.index(name) for name in names], np.int32)
  values = np.array([magnitude(name, b / 9) for name, b in zip(names, bins)], np.float32)
  return ops.reshape(25, 2), np.array(chance, np.float32).reshape(25, 2), values.reshape(25, 2)


def _with_sign(key: Array, ops: Array, values: Array) -> Array:
  """Turns the sign of half of the magnitudes that have one."""
  minus = jax.random.bernoulli(key, 0.5, ops.shape) & jnp.asarray(SIGNED)[ops]
  return jnp.where(minus, -values, values)


def _in_turn(
  images: Array, strength: Array, index: Array, value: Array, serial: bool | None
) -> Array:
  """Applies the ops `[B, n]` of `OPS` one after another where the strength is not 0."""
  index = jnp.where((strength != 0)[:, None], index, len(OPS))

  def body(i: Array, images: Array) -> Array:
    return apply_each(OPS, index[:, i], images, value[:, i], serial)

  return jax.lax.fori_loop(0, index.shape[1], body, images)


def autoaugment_draw(key: Array, batch: int) -> tuple[Array, Array]:
  """Draws two ops for each image: places in `OPS` (past its end: none), magnitudes, `[B, 2]`."""
  krow, kcoin, ksign = jax.random.split(key, 3)
  ops, chance, values = (jnp.asarray(a) for a in policy())
  row = jax.random.randint(krow, (batch,), 0, len(ops))
  on = jax.random.uniform(kcoin, (batch, 2)) < chance[row]
  return jnp.where(on, ops[row], len(OPS)), _with_sign(ksign, ops[row], values[row])


def autoaugment(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
  """Applies one of the 25 sub-policies found on CIFAR-10: two ops, each with its probability.

  Ranges and black borders as torchvision's (the paper's own code fills with a mean colour).

  Args:
    key: a key.
    images: uint8 `[B, H, W, 3]`.
    strength: `[B]`, 0 for the identity.
    serial: as of `apply_each`.

  Reference: Cubuk et al., CVPR 2019.
  """
  return _in_turn(images, strength, *autoaugment_draw(key, len(images)), serial)


def randaugment_draw(key: Array, batch: int, n: int, m: float) -> tuple[Array, Array]:
  """Draws n of 14 ops for each image: int32 `[B, n]` places in `OPS`, magnitudes `[B, n]`."""
  kop, ksign = jax.random.split(key)
  space = jnp.array([i for i, name in enumerate(NAMES) if name != 'Invert'])
  values = jnp.array([magnitude(name, m / 30) for name in NAMES], jnp.float32)
  index = space[jax.random.randint(kop, (batch, n), 0, len(space))]
  return index, _with_sign(ksign, index, values[index])


def rand_augment(n: int = 2, m: float = 9) -> Callable[..., Array]:
  """Returns the op that applies n ops of 14, drawn uniformly, at magnitude m of 0 .. 30.

  Ranges as torchvision's.

  Reference: Cubuk et al., NeurIPS 2020.
  """

  def op(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
    return _in_turn(images, strength, *randaugment_draw(key, len(images), n, m), serial)

  return op


def rotation15(key: Array, images: Array, strength: Array) -> Array:
  """Turns each image by an angle uniform in -15 .. 15 degrees; black corners, as RIDE.

  Reference: Wang et al., ICLR 2021.
  """
  angle = jax.random.uniform(key, strength.shape, minval=-15, maxval=15)
  return _on(strength, geometry.rotate(images, angle), images)


# the view of SimCLR


def crop_boxes(
  key: Array, batch: int, height: int, width: int, scale: tuple[float, float]
) -> tuple[Array, Array, Array, Array]:
  """Draws boxes of a share of the area in `scale`, aspect ratio log-uniform in 3/4 .. 4/3.

  The first of ten draws that fits is taken, else the whole image (brought to those ratios).

  Returns:
    top, left, rows, columns: int32 `[B]`.
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
  """Enlarges each image's box to the whole side by bilinear weights, rounded to bytes."""

  def along(side: int, start: Array, size: Array) -> tuple[Array, Array]:
    first, weight = table(tuple((s, side) for s in range(1, side + 1)), 'bilinear', side)
    return jnp.asarray(first)[size - 1] + start[:, None], jnp.asarray(weight)[size - 1]

  height, width = images.shape[1:3]
  return resample(images, along(height, top, rows), along(width, left, columns))


def simclr(key: Array, images: Array, strength: Array, serial: bool | None = None) -> Array:
  """Crops a share .2 .. 1 of the area, enlarges it, flips, jitters (p .8), greys (p .2).

  Replaces crop and flip. Draws and arithmetic as torchvision's on Pillow images.

  Reference: Chen et al., ICML 2020.
  """
  kbox, kflip, kjitter, kon, kgrey = jax.random.split(key, 5)
  batch, height, width = images.shape[:3]
  x = resized(images, *crop_boxes(kbox, batch, height, width, (0.2, 1)))
  x = random_flip(kflip, x)
  x = color_jitter(kjitter, x, jax.random.bernoulli(kon, 0.8, (batch,)), serial)
  greyed = pixels.spread(jax.random.bernoulli(kgrey, 0.2, (batch,)))
  return _on(strength, jnp.where(greyed, pixels.grey(x), x), images)
