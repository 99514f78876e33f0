"""Gaussian blur against SciPy's filter, and how often it happens."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter1d

from fass_jax.augment import blur
from tests.augment import oracle

run = jax.jit(blur.gaussian_blur)


def test_it_is_scipys_filter():
  x, sigma = oracle.images(8, 12), np.linspace(0.1, 2.0, 8)
  want = [
    gaussian_filter1d(
      gaussian_filter1d(image.astype(float), s, axis=0, mode='nearest', radius=blur.REACH),
      s,
      axis=1,
      mode='nearest',
      radius=blur.REACH,
    )
    for image, s in zip(x, sigma)
  ]
  got = np.asarray(run(x, jnp.asarray(sigma, jnp.float32)))
  assert got.dtype == np.uint8
  # half a grey level is the rounding
  assert np.abs(got - np.stack(want)).max() < 0.501
  np.testing.assert_array_equal(got[0], x[0])  # sigma .1 moves nothing
  assert (got[-1] != x[-1]).mean() > 0.5


def test_a_constant_image_stays():
  x = np.full((2, 5, 7, 3), 93, np.uint8)
  np.testing.assert_array_equal(run(x, jnp.array([0.5, 2.0])), x)


def test_half_of_the_images_and_none_without_strength():
  x, op = oracle.images(400, 4), jax.jit(blur.blur)
  got = np.asarray(op(jax.random.key(0), x, jnp.ones(400)))
  # below sigma .3 or so a blurred image may equal its own
  assert 0.35 < (got != x).any(axis=(1, 2, 3)).mean() < 0.55
  np.testing.assert_array_equal(op(jax.random.key(0), x, jnp.zeros(400)), x)
