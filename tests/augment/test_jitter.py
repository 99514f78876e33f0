"""Colour jitter: orders and magnitudes by their law, pixels by Pillow."""

import functools
import math

import jax
import numpy as np
import pytest
from PIL import Image

from fass_jax.augment import chain, jitter
from tests.augment import oracle

NAMES = ('brightness', 'contrast', 'color', 'hue')
CASES = [jitter.SIMCLR, (0.4, 0.4, 0.4, 0), (0, 0.8, 0, 0.05)]


@pytest.mark.parametrize('strengths', CASES[:2])
def test_jitter_is_pillows_in_a_drawn_order(strengths):
  n, key = 48, jax.random.key(5)
  x = oracle.images(n, 32)
  on = np.arange(n) % 3 > 0
  run = jax.jit(functools.partial(jitter.color_jitter, strengths=strengths))
  got = np.asarray(run(key, x, on))
  order, value = map(np.asarray, jitter.draw(key, n, strengths))
  want = []
  for image, ops, values in zip(x, order, value.astype(float)):
    image = Image.fromarray(image)
    for op, v in zip(ops, values):
      image = oracle.OPS[NAMES[op]](image, v)
    want.append(np.asarray(image))
  np.testing.assert_array_equal(got[~on], x[~on])
  off = np.abs(got[on].astype(int) - np.stack(want)[on])
  assert (off > 0).mean() < 0.005 and off.max() < 16
  if strengths[3] == 0:
    np.testing.assert_array_equal(chain.OPS['jitter'](key, x, on.astype(np.float32)), got)


@pytest.mark.parametrize('strengths', CASES)
def test_draws(strengths):
  n = 24000
  draw = jax.jit(jitter.draw, static_argnums=(1, 2))
  order, value = map(np.asarray, draw(jax.random.key(0), n, strengths))
  there = [i for i, s in enumerate(strengths) if s]
  assert order.shape == value.shape == (n, len(there)) and set(order.ravel()) == set(there)
  _, count = np.unique(order, axis=0, return_counts=True)
  orders = math.factorial(len(there))
  assert len(count) == orders and np.abs(count - n / orders).max() < 5 * np.sqrt(n / orders)
  for op in there:
    got, middle, reach = value[order == op], float(op < 3), strengths[op]
    low, high = middle - reach, middle + reach
    near = 0.0025 * reach
    assert low <= got.min() < low + near and high - near < got.max() <= high + 1e-6
    assert abs(got.mean() - middle) < 5 * 2 * reach / np.sqrt(12 * n)
