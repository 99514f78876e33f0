"""Ops on values: each against Pillow, then identities and values by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.augment import pixels
from fass_jax.augment.choose import plain
from tests.augment import oracle

FACTORS = (0, 0.1, 0.16, 0.28, 0.6, 0.7, 1, 1.1, 1.3, 1.9)
MAGNITUDES = {
  'solarize': (0, 8.53, 85.33, 128, 255, 256),
  'solarize_add': (0, 3.67, 36.67, 110),
  'posterize': (0, 1.33, 2, 4, 7, 8),
  'gaussian_blur': (0, 0.0667, 0.2, 0.5, 2 / 3, 1, 1.3, 1.41, 1.42, 1.5, 1.9, 2, 2.4),
  'hue': (-0.5, -0.1, -0.03, 0, 0.05, 0.1, 0.4),
  **dict.fromkeys(('color', 'contrast', 'brightness', 'sharpness'), FACTORS),
}
PLAIN = ('invert', 'autocontrast', 'equalize', 'edge_enhance', 'detail', 'smooth')


@functools.cache
def op(name):
  """The jitted op; one without a magnitude drops it."""
  found = getattr(pixels, name)
  return jax.jit(found if name in MAGNITUDES else plain(found))


def at(name, batch, value):
  return np.asarray(op(name)(batch, np.full(len(batch), value, np.float32)))


@pytest.mark.parametrize('side', [32, 8])
@pytest.mark.parametrize('name', [*MAGNITUDES, *PLAIN])
def test_against_pillow(name, side):
  oracle.assert_op_as_pillow(name, op(name), side, MAGNITUDES.get(name, (0,)))


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('solarize', 256), ('posterize', 8), ('gaussian_blur', 0), ('color', 1), ('contrast', 1),
    ('brightness', 1), ('sharpness', 1),
  ],
)  # fmt: skip
def test_identity(name, value):
  x = oracle.images(4, 8)
  np.testing.assert_array_equal(at(name, x, value), x)


@pytest.mark.parametrize('name', [*MAGNITUDES, *PLAIN])
def test_flat_images(name):
  """One value everywhere: no division by 0, and no filter changes it."""
  x = np.stack([np.full((8, 8, 3), v, np.uint8) for v in (0, 1, 128, 255)])
  want = oracle.pillow(name, x, 1)
  np.testing.assert_array_equal(at(name, x, 1), want)


def test_degenerate_images():
  x = oracle.images(4, 8)
  assert (at('brightness', x, 0) == 0).all()
  np.testing.assert_array_equal(at('color', x, 0), np.repeat(pixels.grey(jnp.asarray(x)), 3, -1))
  assert (np.ptp(at('contrast', x, 0), (1, 2, 3)) == 0).all()
  np.testing.assert_array_equal(at('sharpness', x, 0), at('smooth', x, 0))


def test_by_hand():
  x = np.array([0, 100, 127, 128, 200, 255], np.uint8)[None, None, :, None].repeat(3, -1)
  table = {
    ('solarize', 128): [0, 100, 127, 127, 55, 0],
    ('solarize_add', 28): [28, 127, 100, 99, 27, 0],
    ('posterize', 0): [0, 0, 0, 128, 128, 128],  # never fewer than one bit
    ('posterize', 3.9): [0, 96, 96, 128, 192, 224],
    ('brightness', 0.5): [0, 50, 63, 64, 100, 127],
    ('brightness', 1.5): [0, 150, 190, 192, 255, 255],
    ('invert', 0): [255, 155, 128, 127, 55, 0],
  }
  for (name, value), want in table.items():
    np.testing.assert_array_equal(at(name, x, value)[0, 0, :, 0], want, name)


def test_autocontrast_is_pillows_for_every_range_and_value():
  """An image a pair (lo, hi): each value between them once; Pillow rounds some down by one."""
  pairs = [(low, high) for low in range(0, 256, 5) for high in range(low, 256, 3)]
  values = [np.linspace(low, high, 256).round().astype(np.uint8) for low, high in pairs]
  x = np.repeat(np.stack(values).reshape(-1, 16, 16, 1), 3, -1)
  got = at('autocontrast', x, 0)
  np.testing.assert_array_equal(got, oracle.pillow('autocontrast', x, 0))
  low, high = (np.array(part).reshape(-1, 1, 1, 1) for part in zip(*pairs))
  floor = 255 * (x.astype(int) - low) // np.maximum(high - low, 1)
  lower = (got != floor) & (high > low)
  assert lower.sum() > 100 and (floor - got)[lower].max() == 1


def test_blur_keeps_the_mean_and_spreads_a_point():
  x = np.zeros((1, 31, 31, 3), np.uint8)
  x[0, 15, 15] = 255
  y = at('gaussian_blur', x, 2.0)[0, :, :, 0].astype(float)
  np.testing.assert_array_equal(y, y[::-1])
  assert np.abs(y - y.T).max() <= 1  # bytes between the axes
  assert abs(y.sum() / 255 - 1) < 0.1
  place = np.arange(31) - 15
  assert abs((y.sum(0) * place**2).sum() / y.sum() - 4) < 0.5
  # beyond the range the widest is taken
  np.testing.assert_array_equal(at('gaussian_blur', x, 9), at('gaussian_blur', x, 2.4))


def test_vmap_is_the_batch():
  x = oracle.images(4, 8)
  v = np.linspace(0.2, 1.8, 4, dtype=np.float32)
  for name in MAGNITUDES:
    found = getattr(pixels, name)
    alone = jax.jit(jax.vmap(lambda i, f, found=found: found(i[None], f[None])[0]))(x, v)
    np.testing.assert_array_equal(alone, op(name)(x, v), name)


def test_images_need_not_be_square():
  x = oracle.images(4, 16)[:, :, :10]
  for name in [*MAGNITUDES, *PLAIN]:
    oracle.assert_as_pillow(name, at(name, x, 1.3), oracle.pillow(name, x, 1.3))
