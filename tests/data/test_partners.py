"""Which image is mixed in and how much of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.sampling import named, partners
from fass_jax.sampling.samplers import index_classes

COUNTS = [9, 5, 3, 2]
image_class = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))
CLASSES = index_classes(image_class, 4)
# targets 2, 0, 1; class 3 has not been seen
MATRIX = jnp.array(
  [[0.6, 0.1, 0.3, 0.0], [0.5, 0.4, 0.05, 0.05], [0.1, 0.3, 0.4, 0.2], [0.0, 0.0, 0.0, 0.0]]
)
EACH = 6000
asked = np.tile(np.arange(4), EACH)
INDEX = jnp.zeros(asked.shape, jnp.int32)


def within(observed, n, p, sigmas=5):
  """Whether counts of n draws fit a probability."""
  return np.abs(observed - n * p).max() < sigmas * np.sqrt(n * p * (1 - p))


def uniform_inside(positions, c):
  drawn = np.bincount(positions, minlength=len(image_class))[image_class == c]
  return within(drawn, drawn.sum(), 1 / len(drawn))


@pytest.fixture(scope='module')
def scored():
  run = jax.jit(named.PARTNERS['score'].choose)
  return np.asarray(run(jax.random.key(0), INDEX, jnp.asarray(asked), MATRIX, CLASSES))


def test_score_partner_is_of_the_arg_max_class(scored):
  for own, target in ((0, 2), (1, 0), (2, 1)):
    drawn = scored[asked == own]
    np.testing.assert_array_equal(image_class[drawn], np.full(EACH, target))
    assert uniform_inside(drawn, target)


def test_score_partner_of_an_unseen_class_is_random(scored):
  drawn = image_class[scored[asked == 3]]
  observed = np.bincount(drawn, minlength=4)
  assert observed[3] == 0
  assert within(observed[:3], EACH, 1 / 3)


def test_score_partner_without_any_score():
  run = jax.jit(partners.score_partner)
  got = run(jax.random.key(1), INDEX, jnp.asarray(asked), jnp.zeros((4, 4)), CLASSES)
  drawn = image_class[np.asarray(got)]
  for own in range(4):
    observed = np.bincount(drawn[asked == own], minlength=4)
    assert observed[own] == 0
    assert within(np.delete(observed, own), EACH, 1 / 3)


def test_random_partner_is_uniform_over_the_other_classes():
  run = jax.jit(named.PARTNERS['random'].choose)
  got = np.asarray(run(jax.random.key(2), INDEX, jnp.asarray(asked), None, CLASSES))
  assert got.dtype == np.int32
  for own in range(4):
    observed = np.bincount(image_class[got[asked == own]], minlength=4)
    assert observed[own] == 0
    # over classes, not over images: the counts 9, 5, 3, 2 play no part
    assert within(np.delete(observed, own), EACH, 1 / 3)
  assert all(uniform_inside(got[image_class[got] == c], c) for c in range(4))


def test_random_other_class_of_two():
  got = partners.random_other_class(jax.random.key(0), jnp.array([0, 1, 1, 0]), 2)
  np.testing.assert_array_equal(got, [1, 0, 0, 1])


def test_batch_partner_is_a_permutation():
  index = jnp.array([4, 18, 7, 7, 0, 3, 11, 12], jnp.int32)
  draw = named.PARTNERS['permutation'].choose
  seen = set()
  for seed in range(5):
    got = np.asarray(draw(jax.random.key(seed), index, image_class[index], None, CLASSES))
    np.testing.assert_array_equal(np.sort(got), np.sort(index))
    seen.add(got.tobytes())
  assert len(seen) > 1


# how much


def test_score_ratio():
  own, target = jnp.array([0, 1, 3]), jnp.array([2, 0, 1])
  free = named.RATIOS['score'].build(named.RatioOptions(1.0, 0.5, 0.0))(
    jax.random.key(0), MATRIX, own, target
  )
  np.testing.assert_allclose(free, [0.6 / 0.9, 0.4 / 0.9, 0.5], rtol=1e-6)
  bound = named.RATIOS['score'].build(named.RatioOptions(1.0, 0.5, 0.55))(
    jax.random.key(0), MATRIX, own, target
  )
  np.testing.assert_allclose(bound, [0.6 / 0.9, 0.55, 0.55], rtol=1e-6)


@pytest.mark.parametrize('alpha', [1.0, 0.4])
def test_beta_ratio(alpha):
  n = 20_000
  rule = named.RATIOS['beta'].build(named.RatioOptions(alpha, 0.5, 0.0))
  labels = jnp.zeros((n,), jnp.int32)
  lam = np.asarray(rule(jax.random.key(3), None, labels, labels), np.float64)
  assert lam.shape == (n,) and (lam >= 0).all() and (lam <= 1).all()
  variance = 1 / (4 * (2 * alpha + 1))  # 1/12 for Beta(1, 1)
  assert abs(lam.mean() - 0.5) < 5 * np.sqrt(variance / n)
  # the square's own spread bounds the error of the variance
  spread = ((lam - 0.5) ** 2).std()
  assert abs(((lam - 0.5) ** 2).mean() - variance) < 5 * spread / np.sqrt(n)


def test_beta_of_one_is_uniform():
  n = 20_000
  labels = jnp.zeros((n,), jnp.int32)
  lam = named.RATIOS['beta'].build(named.RatioOptions(1.0, 0.5, 0.0))(
    jax.random.key(4), None, labels, labels
  )
  observed, _ = np.histogram(lam, 10, (0, 1))
  assert within(observed, n, 0.1)


def test_batch_beta_is_one_draw_a_batch():
  rule = named.RATIOS['batch_beta'].build(named.RatioOptions(1.0, 0.5, 0.0))
  labels = jnp.zeros((16,), jnp.int32)
  draws = [np.asarray(rule(jax.random.key(s), None, labels, labels)) for s in range(4)]
  assert all(d.shape == (16,) and len(set(d.tolist())) == 1 for d in draws)
  assert len({float(d[0]) for d in draws}) == 4


def test_fixed_ratio():
  rule = named.RATIOS['fixed'].build(named.RatioOptions(1.0, 0.3, 0.9))
  lam = rule(jax.random.key(0), None, jnp.array([0, 1]), jnp.array([1, 0]))
  assert lam.dtype == jnp.float32
  np.testing.assert_allclose(lam, [0.3, 0.3], rtol=1e-6)


def test_every_named_ratio_can_be_built():
  labels = jnp.array([0, 1], jnp.int32)
  for name in named.RATIOS:
    rule = named.RATIOS[name].build(named.RatioOptions(1.0, 0.5, 0.0))
    lam = np.asarray(rule(jax.random.key(0), MATRIX, labels, labels[::-1]))
    assert lam.shape == (2,) and lam.dtype == np.float32 and ((lam >= 0) & (lam <= 1)).all()


def test_class_uniform_partners_are_uniform_over_classes_and_inside_them():
  labels = np.repeat(np.arange(3), [90, 9, 1])
  classes = index_classes(labels, 3)
  index = jnp.zeros(30_000, jnp.int32)
  got = np.asarray(partners.class_uniform_partner(jax.random.key(0), index, None, None, classes))
  share = np.bincount(labels[got], minlength=3) / len(got)
  assert np.abs(share - 1 / 3).max() < 4 * np.sqrt(2 / 9 / len(got))
  inside = np.bincount(got[labels[got] == 1], minlength=99)[90:99]
  assert np.abs(inside / inside.sum() - 1 / 9).max() < 0.02
