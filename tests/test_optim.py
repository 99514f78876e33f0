"""Schedules by the epochs of the literature, and SGD step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fass_jax.config.deltas import base_config
from fass_jax.recipe import optimiser
from fass_jax.types import Time, UserError

PAIRS = ((0, 1.0), (0.8, 0.01), (0.9, 0.0001))


def at(epoch):
  return Time(jnp.int32(0), jnp.int32(epoch), jnp.float32(0))


def over(schedule, epochs):
  """The schedule's values at epochs 0, 1, .. as one array, from inside jit as the step calls it."""
  return np.asarray(jax.jit(jax.vmap(lambda e: schedule(at(0)._replace(epoch=e))))(
    jnp.arange(epochs)
  ))  # fmt: skip


def test_schedule_of_the_literature():
  o = base_config('cifar100_lt').optim
  lr = over(optimiser.learning_rate(o.lr, o.schedule, o.warmup_epochs, o.warmup_fraction, 200), 200)
  assert lr.dtype == np.float32
  want = np.concatenate(
    [[0.02, 0.04, 0.06, 0.08], np.full(156, 0.1), np.full(20, 1e-3), np.full(20, 1e-5)]
  )
  np.testing.assert_allclose(lr, want, rtol=1e-6)
  # the edges by name
  np.testing.assert_allclose(
    lr[[4, 159, 160, 179, 180, 199]], [0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5], rtol=1e-6
  )


def test_a_run_twice_as_long_drops_twice_as_late():
  lr = over(optimiser.learning_rate(0.1, PAIRS, 5.0, 0.025, 400), 400)
  np.testing.assert_allclose(lr[[0, 4, 319, 320, 359, 360]], [0.02, 0.1, 0.1, 1e-3, 1e-3, 1e-5],
                             rtol=1e-6)  # fmt: skip


@pytest.mark.parametrize(
  ('epochs', 'warm', 'first', 'second'),
  [
    (60, [1 / 1.5, 1.0], 48, 54),  # W = 1.5
    (100, [0.4, 0.8, 1.0], 80, 90),  # W = 2.5
    (20, [1.0], 16, 18),  # W = .5: no warm-up
    (10, [1.0], 8, 9),
    (3, [1.0], 3, 3),  # the drops at 2.4 and 2.7 are never reached
    (1, [1.0], 1, 1),
  ],
)
def test_short_runs_are_the_same_in_small(epochs, warm, first, second):
  lr = over(optimiser.learning_rate(0.1, PAIRS, 5.0, 0.025, epochs), epochs)
  want = np.full(epochs, 0.1)
  want[: len(warm)] *= warm
  want[first:] = 1e-3
  want[second:] = 1e-5
  np.testing.assert_allclose(lr, want, rtol=1e-6)


def test_no_warm_up():
  for warm in ((0.0, 0.025), (5.0, 0.0)):
    lr = over(optimiser.learning_rate(0.1, 1.0, *warm, 200), 3)
    np.testing.assert_allclose(lr, [0.1] * 3, rtol=1e-6)


def test_integers_are_epochs_and_floats_below_one_are_shares():
  by_epoch = over(optimiser.piecewise(((0, 1.0), (160, 0.5), (180, 0.25)), 200), 200)
  by_share = over(optimiser.piecewise(((0, 1.0), (0.8, 0.5), (0.9, 0.25)), 200), 200)
  np.testing.assert_array_equal(by_epoch, by_share)
  # an epoch does not move with the length of the run
  longer = over(optimiser.piecewise(((0, 1.0), (160, 0.5), (180, 0.25)), 400), 200)
  np.testing.assert_array_equal(longer, by_epoch)
  np.testing.assert_array_equal(over(optimiser.piecewise(((0, 3.0), (1, 2.0)), 9), 3), [3, 2, 2])


@pytest.mark.parametrize('epochs', [1, 3, 7, 10, 30, 60, 90, 130, 200, 300])
def test_shares_that_meet_an_epoch_are_not_lost_to_rounding(epochs):
  for tenth in range(1, 10):
    got = over(optimiser.piecewise(((0, 0.0), (tenth / 10, 1.0)), epochs), epochs)
    want = np.arange(epochs) * 10 >= tenth * epochs  # in integers
    np.testing.assert_array_equal(got, want, err_msg=f'{tenth}/10 of {epochs}')


def test_constants():
  np.testing.assert_allclose(over(optimiser.piecewise(0.8, 200), 3), [0.8] * 3, rtol=1e-6)
  np.testing.assert_allclose(over(optimiser.piecewise(2, 200), 3), [2.0] * 3)


def test_the_first_value_holds_before_its_time():
  got = over(optimiser.piecewise(((2, 5.0), (4, 7.0)), 6), 6)
  np.testing.assert_array_equal(got, [5, 5, 5, 5, 7, 7])


@pytest.mark.parametrize(
  'pairs', [((0, 1.0), (0.9, 0.1), (0.8, 0.01)), ((0, 1.0), (180, 0.1), (0.8, 0.01))]
)
def test_pairs_out_of_order(pairs):
  with pytest.raises(UserError, match='not in order of time; sort'):
    optimiser.piecewise(pairs, 200)


# SGD


@pytest.mark.parametrize('pairs', [(0.5,), (0, 1.0), (), ((0, 1.0), 0.5), ((0, 1.0, 2.0),)])
def test_what_is_no_schedule(pairs):
  with pytest.raises(UserError, match=r'is no \(\(when, value\), ...\); write'):
    optimiser.piecewise(pairs, 10)


def test_sgd_by_hand():
  sgd = optimiser.sgd(0.9, 0.1, False)
  w, lr = jnp.array([1.0]), 0.5
  state = sgd.init(w)
  # g += .1 w; v = .9 v + g; w -= .5 v
  #   g = 2 + .1       = 2.1     v = 2.1                   w = 1 - 1.05       = -.05
  #   g = 1 - .005     = .995    v = 1.89 + .995   = 2.885 w = -.05 - 1.4425  = -1.4925
  #   g = -1 - .14925  = -1.14925, v = 2.5965 - 1.14925 = 1.44725, w = -2.216125
  for grad, velocity, place in (
    (2.0, 2.1, -0.05), (1.0, 2.885, -1.4925), (-1.0, 1.44725, -2.216125)
  ):  # fmt: skip
    update, state = sgd.update(jnp.array([grad]), state, w)
    w = w - lr * update
    np.testing.assert_allclose(update, [velocity], rtol=1e-5)
    np.testing.assert_allclose(w, [place], rtol=1e-5)


def test_nesterov_by_hand():
  sgd = optimiser.sgd(0.9, 0.0, True)
  w = jnp.array([1.0])
  state = sgd.init(w)
  # v = 2, update g + .9 v = 3.8; v = 1.8 + 1 = 2.8, update 1 + 2.52
  for grad, want in ((2.0, 3.8), (1.0, 3.52)):
    update, state = sgd.update(jnp.array([grad]), state, w)
    np.testing.assert_allclose(update, [want], rtol=1e-6)


def test_decay_reaches_every_parameter():
  params = {
    'conv': {'kernel': jnp.full((2, 2), 3.0)},
    'bn': {'scale': jnp.ones(2)},
    'bias': jnp.ones(1),
  }
  sgd = optimiser.sgd(0.9, 2e-4, False)
  zero = jax.tree.map(jnp.zeros_like, params)
  update, _ = sgd.update(zero, sgd.init(params), params)
  for u, w in zip(jax.tree.leaves(update), jax.tree.leaves(params)):
    np.testing.assert_allclose(u, 2e-4 * w, rtol=1e-6)


def test_the_learning_rate_stays_outside_the_momentum():
  # a drop by 100 shrinks the very next step by 100: the buffer holds no old rate
  sgd = optimiser.sgd(0.9, 0.0, False)
  w = jnp.array([0.0])
  state = sgd.init(w)
  places = []
  for lr in (0.1, 0.1, 0.001):
    update, state = sgd.update(jnp.array([1.0]), state, w)
    w = optax.apply_updates(w, -lr * update)
    places.append(float(w[0]))
  np.testing.assert_allclose(places, [-0.1, -0.29, -0.29271], rtol=1e-5)


# cosine, and parts that do not train


def test_cosine():
  # lr (1 + cos(pi e / 5)) / 2 at e = 0 .. 4
  lr = over(optimiser.learning_rate(0.01, PAIRS, 5.0, 0.025, 5, 'cosine'), 5)
  want = [0.01, 0.0090450850, 0.0065450850, 0.0034549150, 0.00095491503]
  np.testing.assert_allclose(lr, want, rtol=1e-5)
  # with its warm-up: a fifth, two fifths, .. of it in the first five of 200 epochs
  warm = over(optimiser.learning_rate(1.0, 1.0, 5.0, 0.025, 200, 'cosine'), 200)
  np.testing.assert_allclose(warm[1], 0.4 * (1 + np.cos(np.pi / 200)) / 2, rtol=1e-5)
  np.testing.assert_allclose(warm[100], 0.5, rtol=1e-5)


def test_only_the_named_parts_train():
  params = {'head': {'w': jnp.ones(2)}, 'header': {'w': jnp.ones(2)}, 'body': {'w': jnp.ones(2)}}
  only = ('head',)
  grads = jax.grad(
    lambda p: sum((3 * x**2).sum() for x in jax.tree.leaves(optimiser.freeze(p, only)))
  )(params)
  sgd = optimiser.sgd(0.9, 0.1, True, only)
  state = sgd.init(params)
  update, _ = sgd.update(grads, state, params)
  # g = 6 + .1, Nesterov: g + .9 g
  np.testing.assert_allclose(update['head']['w'], [6.1 * 1.9] * 2, rtol=1e-6)
  for other in ('header', 'body'):
    np.testing.assert_array_equal(update[other]['w'], [0, 0])
  assert len(jax.tree.leaves(state)) == 1  # one momentum buffer
  assert optimiser.freeze(params) is params
