"""Cutout: one square of half the side, its centre uniform, clipped at the border."""

import jax
import numpy as np
import pytest

from fass_jax.augment.cutout import cutout

run = jax.jit(cutout)


def holes(height, width, n, seed=0):
  """Returns the masks of the holes in white images."""
  x = np.full((n, height, width, 3), 255, np.uint8)
  y = np.asarray(run(jax.random.key(seed), x))
  assert y.dtype == np.uint8 and y.shape == x.shape
  assert set(np.unique(y)) == {0, 255} and (y == y[..., :1]).all()
  return y[..., 0] == 0


@pytest.mark.parametrize(('height', 'width'), [(32, 32), (8, 8), (16, 8)])
def test_one_rectangle_of_the_right_size(height, width):
  mask = holes(height, width, 500)
  rows, columns = mask.any(2), mask.any(1)
  np.testing.assert_array_equal(mask, rows[:, :, None] & columns[:, None])
  for line, side in ((rows, height), (columns, width)):
    length, half = line.sum(1), side // 4
    # in one piece; a quarter of the side when the centre is in a corner, else up to half
    assert (np.abs(np.diff(line.astype(int), axis=1)).sum(1) <= 2).all()
    assert length.min() == half and length.max() == 2 * half
    # shorter only at a border
    assert (line[:, 0] | line[:, -1])[length < 2 * half].all()


@pytest.mark.parametrize(('side', 'n'), [(32, 20000), (8, 5000)])
def test_the_centre_is_uniform(side, n):
  mask, half = holes(side, side, n, seed=1), side // 4
  for line in (mask.any(2), mask.any(1)):
    start, stop = line.argmax(1), side - line[:, ::-1].argmax(1)
    centre = np.where(start > 0, start + half, stop - half)
    count = np.bincount(centre, minlength=side)
    assert len(count) == side
    p = 1 / side
    assert np.abs(count - n * p).max() < 5 * np.sqrt(n * p * (1 - p))
  whole = (mask.sum((1, 2)) == (2 * half) ** 2).mean()
  p = ((side - 2 * half + 1) / side) ** 2
  assert abs(whole - p) < 5 * np.sqrt(p * (1 - p) / n)


def test_the_rest_stays():
  x = np.random.default_rng(0).integers(1, 256, (64, 16, 16, 3)).astype(np.uint8)
  y = np.asarray(run(jax.random.key(0), x))
  np.testing.assert_array_equal(y[y != 0], x[y != 0])
  assert (y != np.asarray(run(jax.random.key(1), x))).any((1, 2, 3)).mean() > 0.9


def test_vmap_draws_for_each():
  x = np.full((4, 1, 8, 8, 3), 255, np.uint8)
  keys = jax.random.split(jax.random.key(0), 4)
  got = jax.vmap(cutout)(keys, x)
  for key, image, want in zip(keys, x, got):
    np.testing.assert_array_equal(run(key, image), want)
