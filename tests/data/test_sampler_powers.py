"""Samplers by powers of the class counts, over time, and in groups of classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.recipe import optimiser
from fass_jax.sampling import named, samplers
from fass_jax.types import Time
from tests.data.test_samplers import LONG_TAIL, N, chi_square, classes_of

PI = np.asarray(LONG_TAIL) / N


def at(epoch, epochs=11):
  return Time(jnp.int32(0), jnp.int32(epoch), jnp.float32(epoch / epochs))


@pytest.fixture(scope='module')
def long_tail():
  return classes_of(LONG_TAIL)


def test_power_weight_by_hand():
  n = jnp.array([100, 25, 1, 0])
  for q, want in (
    (1.0, [1, 0.25, 0.01, 0]), (0.5, [1, 0.5, 0.1, 0]), (0.0, [1, 1, 1, 0]),
    (-1.0, [1, 4, 100, 0]),
  ):  # fmt: skip
    np.testing.assert_allclose(samplers.power_weight(n, q), want, rtol=1e-6)


def test_progressive_weight_goes_from_the_images_to_the_classes():
  n = jnp.array([6, 3, 1])
  for share, want in (
    (0.0, [0.6, 0.3, 0.1]),
    (1.0, [1 / 3] * 3),
    (0.5, [7 / 15, 19 / 60, 13 / 60]),
  ):
    np.testing.assert_allclose(samplers.progressive_weight(n, share), want, rtol=1e-6)


@pytest.mark.parametrize(
  ('name', 'epoch', 'share'),
  [
    ('square_root', 0, PI**0.5 / (PI**0.5).sum()),
    ('reversed', 0, PI**-1 / (PI**-1).sum()),
    ('progressive', 0, PI),
    ('progressive', 5, (PI + 0.01) / 2),
    ('progressive', 10, np.full(100, 0.01)),
  ],
)
def test_class_frequencies(long_tail, name, epoch, share):
  classes, labels = long_tail
  draw = named.SAMPLERS[name].build(named.Options(epochs=11)).draw
  index = np.asarray(draw(jax.random.key(3), classes, 200_000, at(epoch)))
  observed = np.bincount(labels[index], minlength=100)
  assert abs(chi_square(observed, 200_000 * share)) < 5
  within(observed, share)


def within(observed, share, sigmas=4):
  """Every class comes as often as it should, up to so many standard deviations."""
  n = observed.sum()
  assert (np.abs(observed - n * share) < sigmas * np.sqrt(n * share * (1 - share))).all()


def test_reversed_partners_are_rare_classes(long_tail):
  classes, labels = long_tail
  index = jnp.zeros(200_000, jnp.int32)
  drawn = named.PARTNERS['reversed'].choose(jax.random.key(8), index, index, None, classes)
  observed = np.bincount(labels[np.asarray(drawn)], minlength=100)
  within(observed, PI**-1 / (PI**-1).sum())
  assert observed[-1] > 50 * observed[0]


def power_plan(long_tail, epoch, steps=85, n=128):
  power = optimiser.piecewise(((0, 1.0), (0.8, 0.0)), 10)
  sampler = named.SAMPLERS['power'].build(named.Options(power=power, epochs=10))
  assert sampler.scope == 'epoch'
  return sampler.draw(jax.random.key(5), long_tail[0], jnp.int32(epoch), steps, n)


def test_deferred_resampling_is_a_permutation_and_then_balanced(long_tail):
  classes, labels = long_tail
  index, mask = power_plan(long_tail, 7)
  own, own_mask = samplers.permutation_plan(jax.random.key(5), classes, jnp.int32(7), 85, 128)
  np.testing.assert_array_equal(index, own)
  np.testing.assert_array_equal(mask, own_mask)
  index, mask = power_plan(long_tail, 8)
  assert np.asarray(mask).all()
  observed = np.bincount(labels[np.asarray(index).reshape(-1)], minlength=100)
  assert abs(chi_square(observed, np.full(100, 108.8))) < 5
  assert (np.asarray(power_plan(long_tail, 9)[0]) != np.asarray(index)).mean() > 0.9


@pytest.mark.parametrize('images', [1, 2, 4])
def test_groups_are_different_images_of_different_classes(images):
  classes, labels = classes_of([5, 0, 4, 9, 4, 6])
  draw = named.SAMPLERS['groups'].build(named.Options(images=images)).draw
  for seed in range(20):
    index = np.asarray(draw(jax.random.key(seed), classes, 5 * images, at(0)))
    groups = labels[index].reshape(5, images)
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0])) == 5
    assert len(set(index.tolist())) == 5 * images


def test_groups_take_every_class_and_every_image_alike():
  classes, labels = classes_of([5, 3, 4, 9])
  draw = jax.jit(jax.vmap(lambda k: samplers.draw_groups(k, classes, 6, 3)))
  index = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
  assert (
    abs(chi_square(np.bincount(labels[index[:, ::3]].reshape(-1), minlength=4), np.full(4, 2000)))
    < 5
  )
  for c, n in enumerate((5, 3, 4, 9)):
    place = index[labels[index] == c]
    assert abs(chi_square(np.bincount(place, minlength=21)[labels == c], np.full(n, 6000 / n))) < 5


def test_groups_of_more_classes_or_images_than_there_are():
  classes, labels = classes_of([1, 2, 0])
  index = np.asarray(samplers.draw_groups(jax.random.key(1), classes, 12, 3))
  groups = labels[index].reshape(4, 3)
  assert (groups == groups[:, :1]).all()
  np.testing.assert_array_equal(np.sort(groups[:, 0]), [0, 0, 1, 1])
