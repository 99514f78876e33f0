"""MixUp and CutMix: Eq. 6, 7 and 8a by hand, and the law of the pasted area."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from fass_jax import mixing

few_examples = hypothesis.settings(max_examples=25, deadline=None, database=None, derandomize=True)
LAMS = (0.0, 0.1, 0.389, 0.5, 0.75, 0.9, 0.99)
DRAWS = 4000


def images(seed, batch=4, height=8, width=8):
  return np.random.default_rng(seed).normal(0, 2, (batch, height, width, 3)).astype(np.float32)


def cover(size, lam):
  """The chance that a pixel of a row is inside the box: the length of the centres that reach it.

  The centre is uniform on [0, size] and reaches pixel i if it lies within sqrt(1 - lam) * size / 2
  of i + 1/2.
  """
  reach = np.sqrt(1 - lam) * size / 2
  middle = np.arange(size) + 0.5
  return (np.minimum(middle + reach, size) - np.maximum(middle - reach, 0)) / size


@pytest.fixture(scope='module')
def masks():
  """Many boxes for every lam, at two sizes: `masks(size, lam)`, bool `[DRAWS, size, size]`."""
  draw = jax.jit(
    lambda keys, size, lam: jax.vmap(lambda k: mixing.cutmix_mask(k, size, size, lam))(keys),
    static_argnums=1,
  )
  kept = {}

  def get(size, lam):
    if (size, lam) not in kept:
      keys = jax.random.split(jax.random.key(round(1000 * lam) + size), DRAWS)
      kept[size, lam] = np.asarray(draw(keys, size, lam))
    return kept[size, lam]

  return get


# Eq. 6


def test_mixup_by_hand():
  x, partner = jnp.full((2, 1, 1, 3), 10.0), jnp.full((2, 1, 1, 3), 20.0)
  mixed, lam = mixing.mixup(None, x, partner, jnp.array([0.3, 0.75]))
  np.testing.assert_allclose(mixed[0], np.full((1, 1, 3), 17.0), rtol=1e-6)
  np.testing.assert_allclose(mixed[1], np.full((1, 1, 3), 12.5), rtol=1e-6)
  np.testing.assert_allclose(lam, [0.3, 0.75])


@few_examples
@hypothesis.given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4))
def test_mixup_against_numpy(shares):
  x, partner, lam = images(0), images(1), np.array(shares, np.float32)
  mixed, real = mixing.mixup(None, x, partner, jnp.asarray(lam))
  share = lam[:, None, None, None].astype(np.float64)
  np.testing.assert_allclose(mixed, share * x + (1 - share) * partner, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(real, lam)


def test_mixup_of_one_and_zero():
  x, partner = images(0, 2), images(1, 2)
  mixed, _ = mixing.mixup(None, x, partner, jnp.array([1.0, 0.0]))
  np.testing.assert_array_equal(mixed[0], x[0])
  np.testing.assert_array_equal(mixed[1], partner[1])


def test_mixup_needs_no_key_and_ignores_it():
  x, partner, lam = images(0), images(1), jnp.full((4,), 0.4)
  a, _ = mixing.mixup(jax.random.key(0), x, partner, lam)
  b, _ = mixing.mixup(jax.random.key(1), x, partner, lam)
  np.testing.assert_array_equal(a, b)


def test_mixup_keeps_half_precision():
  x = jnp.zeros((2, 2, 2, 3), jnp.bfloat16)
  mixed, _ = mixing.mixup(None, x, x + 1, jnp.array([0.5, 0.25]))
  assert mixed.dtype == jnp.bfloat16
  np.testing.assert_array_equal(mixed[:, 0, 0, 0].astype(jnp.float32), [0.5, 0.75])


# Eq. 7


def test_cutmix_of_one_is_the_original():
  x = images(0)
  mixed, real = mixing.cutmix(jax.random.key(0), x, images(1), jnp.ones(4))
  np.testing.assert_array_equal(mixed, x)
  np.testing.assert_array_equal(real, np.ones(4))


@few_examples
@hypothesis.given(st.integers(0, 2**31 - 1), st.floats(0, 1))
def test_cutmix_pastes_a_box_of_the_partner(seed, share):
  # sides of unlike length: height and width may not be swapped
  x, partner = images(0, 3, 6, 10), images(1, 3, 6, 10)
  mixed, real = mixing.cutmix(
    jax.random.key(seed), x, partner, jnp.array([share, 1 - share, 0.5], jnp.float32)
  )
  mixed = np.asarray(mixed)
  pasted = (mixed == partner).all(-1)
  # every pixel is whole, from one of the two
  np.testing.assert_array_equal(pasted, ~(mixed == x).all(-1))
  np.testing.assert_allclose(real, 1 - pasted.mean((1, 2)), rtol=0, atol=1e-6)
  for box, lam in zip(pasted, (share, 1 - share, 0.5)):
    rows, cols = box.any(1), box.any(0)
    np.testing.assert_array_equal(box, rows[:, None] & cols[None, :])
    for line in (rows, cols):  # without a gap
      on = np.flatnonzero(line)
      assert len(on) == 0 or on[-1] - on[0] == len(on) - 1
    side = np.sqrt(1 - np.float32(lam))
    assert rows.sum() <= side * 6 + 1 and cols.sum() <= side * 10 + 1


def test_cutmix_box_is_as_wide_as_high_in_shares():
  # lam = 3/4: half the side; a box that is not clipped has 4 rows of 8 and 8 columns of 16
  keys = jax.random.split(jax.random.key(3), 500)
  masks = np.asarray(jax.vmap(lambda k: mixing.cutmix_mask(k, 8, 16, 0.75))(keys))
  rows, cols = masks.any(2), masks.any(1)
  free_rows = ~rows[:, 0] & ~rows[:, -1]
  free_cols = ~cols[:, 0] & ~cols[:, -1]
  assert free_rows.sum() > 100 and free_cols.sum() > 100
  assert set(rows.sum(1)[free_rows]) == {4}
  assert set(cols.sum(1)[free_cols]) == {8}


@pytest.mark.parametrize('size', [8, 32])
@pytest.mark.parametrize('lam', LAMS)
def test_area_law(masks, size, lam):
  area = masks(size, lam).mean((1, 2))
  # the two coordinates of the centre are independent
  want = cover(size, lam).mean() ** 2
  error = 5 * area.std() / np.sqrt(DRAWS) + 1e-6
  assert abs(area.mean() - want) < error
  assert error < 0.02  # the law has teeth
  # clipping makes the box smaller, never larger
  assert want <= 1 - lam + 1e-12
  assert area.max() <= (np.sqrt(1 - lam) + 1 / size) ** 2 + 1e-6


@pytest.mark.parametrize('size', [8, 32])
@pytest.mark.parametrize('lam', (0.5, 0.75, 0.9))
def test_every_pixel_is_covered_as_often_as_it_should(masks, size, lam):
  line = cover(size, lam)
  want = line[:, None] * line[None, :]
  got = masks(size, lam).mean(0)
  assert (np.abs(got - want) < 6 * np.sqrt(want * (1 - want) / DRAWS)).all()
  # pixels that no border cuts off are covered with chance 1 - lam: the box has that area
  np.testing.assert_allclose(want[size // 2, size // 2], 1 - lam, rtol=1e-9)


def test_area_is_not_truncated_to_even_pixels():
  # the usual code would paste 2 * (int(8 * sqrt(.1)) // 2) = 2 pixels a side, .0625 of the area
  keys = jax.random.split(jax.random.key(5), DRAWS)
  masks = np.asarray(jax.vmap(lambda k: mixing.cutmix_mask(k, 8, 8, 0.9))(keys))
  rows = masks.any(2).sum(1)
  assert {2, 3} <= set(rows) <= {0, 1, 2, 3}


def test_boxes_differ_between_samples_and_keys():
  x, partner, lam = np.zeros((32, 8, 8, 3), np.float32), np.ones((32, 8, 8, 3), np.float32), 0.6
  run = jax.jit(lambda key: mixing.cutmix(key, x, partner, jnp.full((32,), lam))[0])
  a, again, b = (np.asarray(run(jax.random.key(s))) for s in (0, 0, 1))
  np.testing.assert_array_equal(a, again)
  assert (a != b).any(axis=(1, 2, 3)).sum() > 20
  assert len({box.tobytes() for box in a}) > 20


def test_cutmix_ratio_per_sample():
  x, partner = np.zeros((2, 16, 16, 3), np.float32), np.ones((2, 16, 16, 3), np.float32)
  _, real = mixing.cutmix(jax.random.key(2), x, partner, jnp.array([1.0, 0.2]))
  assert real[0] == 1 and 0.2 - 2 / 16 < real[1] < 1


# Eq. 8a


def test_single_label():
  y_b, y_t, lam = jnp.array([3, 1, 0]), jnp.array([0, 2, 1]), jnp.array([0.0, 0.4, 0.9])
  a, b, share = mixing.single_label(y_b, y_t, lam)
  np.testing.assert_array_equal(a, [3, 1, 0])
  np.testing.assert_array_equal(b, [3, 1, 0])
  np.testing.assert_array_equal(share, [1, 1, 1])
  assert share.dtype == lam.dtype


def test_mixed_label():
  y_b, y_t, lam = jnp.array([3, 1, 0]), jnp.array([0, 2, 1]), jnp.array([0.0, 0.4, 0.9])
  a, b, share = mixing.mixed_label(y_b, y_t, lam)
  np.testing.assert_array_equal(a, [3, 1, 0])
  np.testing.assert_array_equal(b, [0, 2, 1])
  np.testing.assert_array_equal(share, lam)


def test_cutmix_batch_pastes_one_box_for_all():
  x, partner = jnp.zeros((5, 16, 16, 3)), jnp.ones((5, 16, 16, 3))
  mixed, lam = mixing.cutmix_batch(jax.random.key(3), x, partner, jnp.full((5,), 0.7))
  assert float(mixed.sum()) > 0 and (np.asarray(mixed) == np.asarray(mixed[0])).all()
  np.testing.assert_allclose(lam, 1.0 - mixed[..., 0].mean((1, 2)), rtol=1e-6)
  same, one = mixing.cutmix_batch(jax.random.key(3), x, partner, jnp.ones((5,)))
  assert float(same.sum()) == 0 and (np.asarray(one) == 1).all()
