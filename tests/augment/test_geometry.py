"""Ops that move pixels: against Pillow, then identities and values by hand."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from fass_jax.augment import geometry
from fass_jax.augment.choose import plain
from fass_jax.augment.resample import BITS, FILTERS, taps
from tests.augment import oracle

SLOPES = (-0.3, -0.1, 0, 0.01, 0.05, 0.1, 0.3, 1)
LENGTHS = (-40, -33.33, -3.33, -2.5, -0.4, 0, 0.5, 2.5, 10, 16.67, 31)
MAGNITUDES = {
  'shear_x': SLOPES,
  'shear_y': SLOPES,
  'translate_x': LENGTHS,
  'translate_y': LENGTHS,
  'rotate': (-30, -15, -7.77, -1, 0, 1, 2, 3, 5, 10, 12.3, 30, 45, 90),
  'resize_crop': (1, 1.0167, 1.05, 1.1, 1.1667, 1.3, 1.5),
}
PLAIN = ('flip', 'mirror')


@functools.cache
def op(name):
  found = getattr(geometry, name)
  return jax.jit(found if name in MAGNITUDES else plain(found))


def at(name, batch, value):
  return np.asarray(op(name)(batch, np.full(len(batch), value, np.float32)))


@pytest.mark.parametrize('side', [32, 8])
@pytest.mark.parametrize('name', [*MAGNITUDES, *PLAIN])
def test_against_pillow(name, side):
  oracle.assert_op_as_pillow(name, op(name), side, MAGNITUDES.get(name, (0,)))


@pytest.mark.parametrize('name', [*MAGNITUDES, *PLAIN])
def test_images_need_not_be_square(name):
  x = oracle.images(4, 16)[:, :, :10]
  oracle.assert_as_pillow(name, at(name, x, 1.25), oracle.pillow(name, x, 1.25))


@pytest.mark.parametrize('name', MAGNITUDES)
def test_identity(name):
  x = oracle.images(4, 8)
  np.testing.assert_array_equal(at(name, x, 1 if name == 'resize_crop' else 0), x)


def test_by_hand():
  x = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1).repeat(3, -1)
  table = {
    ('flip', 0): [[7, 8, 9], [4, 5, 6], [1, 2, 3]],
    ('mirror', 0): [[3, 2, 1], [6, 5, 4], [9, 8, 7]],
    ('translate_x', 1): [[2, 3, 0], [5, 6, 0], [8, 9, 0]],
    ('translate_y', -1): [[0, 0, 0], [1, 2, 3], [4, 5, 6]],
    ('rotate', 90): [[3, 6, 9], [2, 5, 8], [1, 4, 7]],  # counter-clockwise
    ('rotate', 180): [[9, 8, 7], [6, 5, 4], [3, 2, 1]],
    ('shear_x', 1): [[2, 3, 0], [6, 0, 0], [0, 0, 0]],
  }
  for (name, value), want in table.items():
    np.testing.assert_array_equal(at(name, x, value)[0, :, :, 0], want, name)


@pytest.mark.parametrize('name', ['shear_x', 'shear_y', 'translate_x', 'translate_y', 'rotate'])
def test_signs_mirror_each_other(name):
  """-v does to the mirrored image what v does, mirrored; shear is anchored at the first line."""
  x = np.full((1, 32, 32, 3), 255, np.uint8)
  plus, minus = at(name, x, 0.2), at(name, x, -0.2)
  if name == 'rotate':
    np.testing.assert_array_equal(plus[:, :, ::-1], minus)
  assert abs(int((plus == 0).sum()) - int((minus == 0).sum())) <= 3 * 32
  assert set(np.unique([plus, minus])) <= {0, 255}  # black outside, nothing between


def test_vmap_is_the_batch():
  x = oracle.images(4, 8)
  v = np.linspace(1, 1.4, 4, dtype=np.float32)
  for name in MAGNITUDES:
    found = getattr(geometry, name)
    alone = jax.jit(jax.vmap(lambda i, f, found=found: found(i[None], f[None])[0]))(x, v)
    np.testing.assert_array_equal(alone, op(name)(x, v), name)


# resampling weights


@pytest.mark.parametrize('name', FILTERS)
@pytest.mark.parametrize(('size', 'enlarged'), [(32, 32), (1, 8), (5, 8), (31, 32), (224, 300)])
def test_weights_sum_to_one(name, size, enlarged):
  start, weight = taps(size, enlarged, name)
  assert np.abs(weight.sum(1) - 2**BITS).max() <= weight.shape[1]
  last = start + (weight != 0).shape[1] - 1 - np.argmax(weight[:, ::-1] != 0, 1)
  assert start.min() >= 0 and last.max() < size
  if size == enlarged:
    np.testing.assert_array_equal(np.abs(weight).max(1), 2**BITS)
    assert (np.count_nonzero(weight, axis=1) == 1).all()


def test_enlarging_beyond_the_range_stops_at_its_end():
  x = oracle.images(2, 8)
  np.testing.assert_array_equal(at('resize_crop', x, 3), at('resize_crop', x, 1.5))


def test_large_images_are_exact_too():
  """At 224 pixels sums of 24 bits and float32 angles are at their tightest."""
  x = np.asarray(Image.fromarray(oracle.images(1, 32)[0]).resize((224, 224)))[None]
  for name, value in (('resize_crop', 1.3), ('rotate', 7), ('shear_x', 0.1)):
    oracle.assert_as_pillow(name, at(name, x, value), oracle.pillow(name, x, value))
