"""Crop and flip: the pixels against NumPy, the offsets by their law, the chain by its order."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.augment import chain
from fass_jax.augment.crop_flip import PAD, random_crop, random_flip, shift

jit_crop, jit_flip = jax.jit(random_crop), jax.jit(random_flip)


def images(batch, height=8, width=8, seed=0):
  """Random images without a zero, so that the border can be told from them."""
  shape = (batch, height, width, 3)
  return np.random.default_rng(seed).integers(1, 256, shape).astype(np.uint8)


def padded(image, dy, dx):
  """out[i, j] = in[i + dy, j + dx], zero outside, as a window of a wide zero frame."""
  height, width = image.shape[:2]
  frame = np.pad(image, ((height, height), (width, width), (0, 0)))
  return frame[height + dy : 2 * height + dy, width + dx : 2 * width + dx]


def offsets(before, after, py, px):
  """Finds for each image the one shift that explains the crop."""
  found = []
  for a, b in zip(before, np.asarray(after)):
    fits = [
      (dy, dx)
      for dy in range(-py, py + 1)
      for dx in range(-px, px + 1)
      if np.array_equal(padded(a, dy, dx), b)
    ]
    assert len(fits) == 1, fits  # none: the range is too small or pixels changed
    found.append(fits[0])
  return np.array(found)


# the shift


@pytest.mark.parametrize(('dy', 'dx'), [(0, 0), (1, 0), (0, -2), (-3, 4), (5, 7), (-5, -7), (6, 0)])
def test_shift_against_numpy(dy, dx):
  x = images(2, 6, 8)
  got = shift(x, jnp.array([dy, 0]), jnp.array([dx, 0]))
  assert got.dtype == jnp.uint8 and got.shape == x.shape
  np.testing.assert_array_equal(got[0], padded(x[0], dy, dx))
  np.testing.assert_array_equal(got[1], x[1])


def test_shift_by_hand():
  x = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1).repeat(3, -1)
  got = shift(x, jnp.array([1]), jnp.array([-1]))
  np.testing.assert_array_equal(got[0, :, :, 0], [[0, 4, 5], [0, 7, 8], [0, 0, 0]])


# the crop


@pytest.mark.parametrize(('size', 'pad'), [(32, 4), (8, 1), (16, 2), (64, 8)])
def test_padding_is_an_eighth_of_the_side(size, pad):
  assert round(size * PAD) == pad


@pytest.mark.parametrize(('height', 'width', 'n'), [(8, 8, 4000), (16, 8, 4000), (32, 32, 400)])
def test_crop_is_a_uniform_window_of_the_padded_image(height, width, n):
  py, px = height // 8, width // 8
  x = np.repeat(images(1, height, width), n, 0)
  y = jit_crop(jax.random.key(height + width), x)
  assert y.dtype == jnp.uint8 and y.shape == x.shape
  # every offset of the range, no other, and both ends with it
  found = offsets(x, y, py, px)
  for line, pad in ((found[:, 0], py), (found[:, 1], px)):
    count = np.bincount(line + pad, minlength=2 * pad + 1)
    assert (count > 0).all()
    p = 1 / (2 * pad + 1)
    assert np.abs(count - n * p).max() < 5 * np.sqrt(n * p * (1 - p))
  # rows and columns move apart from each other
  assert abs(np.corrcoef(found.T)[0, 1]) < 5 / np.sqrt(n)


def test_the_border_is_zero():
  x = np.full((64, 32, 32, 3), 255, np.uint8)
  y = np.asarray(jit_crop(jax.random.key(1), x))
  assert set(np.unique(y)) == {0, 255}
  assert (y[:, 4:-4, 4:-4] == 255).all()  # at most four pixels a side
  assert all((y[:, edge] == 0).any() for edge in (0, 31))
  assert all((y[:, :, edge] == 0).any() for edge in (0, 31))
  assert (y == y[..., :1]).all()  # the channels move together


# the flip


def test_flip_mirrors_half_of_the_images():
  n = 4000
  x = images(n)
  y = np.asarray(jit_flip(jax.random.key(2), x))
  assert y.dtype == np.uint8
  mirrored = (y == x[:, :, ::-1]).all((1, 2, 3))
  np.testing.assert_array_equal(mirrored, ~(y == x).all((1, 2, 3)))
  assert abs(mirrored.sum() - n / 2) < 5 * np.sqrt(n / 4)


def test_flip_is_left_to_right():
  x = np.zeros((32, 2, 3, 3), np.uint8)
  x[:, 0, 0] = 9  # top left
  y = np.asarray(jit_flip(jax.random.key(0), x))[..., 0]
  assert (y[:, 1] == 0).all()
  np.testing.assert_array_equal(y[:, 0, 0] + y[:, 0, 2], np.full(32, 9))
  assert 0 < (y[:, 0, 2] == 9).sum() < 32


# the chain


@functools.cache
def run(names):
  augment = jax.jit(chain.build(names))
  return np.asarray(augment(jax.random.key(5), images(64), {}))


def test_order_of_the_names_plays_no_part():
  np.testing.assert_array_equal(run(('crop', 'flip')), run(('flip', 'crop')))
  assert (run(('crop', 'flip')) != run(('crop',))).any()


def test_crop_comes_before_flip_and_each_keeps_its_draws():
  x, key, ones = images(64), jax.random.key(5), jnp.ones(64)
  keys = [jax.random.fold_in(key, zlib.crc32(n) & 0x7FFFFFFF) for n in (b'crop', b'flip')]
  cropped = random_crop(keys[0], x, ones)
  np.testing.assert_array_equal(run(('crop',)), cropped)
  np.testing.assert_array_equal(run(('flip',)), random_flip(keys[1], x, ones))
  # adding the flip moves no draw of the crop
  np.testing.assert_array_equal(run(('crop', 'flip')), random_flip(keys[1], cropped, ones))


def test_empty_chain_changes_nothing():
  np.testing.assert_array_equal(run(()), images(64))


@pytest.mark.parametrize('op', [jit_crop, jit_flip])
def test_another_key_is_another_draw(op):
  x = images(64)
  a, same, b = (np.asarray(op(jax.random.key(s), x)) for s in (0, 0, 1))
  np.testing.assert_array_equal(a, same)
  assert (a != b).any((1, 2, 3)).sum() > 16
