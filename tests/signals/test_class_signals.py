"""CUDA's levels and DODA's op weights: the rules by hand, and what they do to the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.signals.levels import Levels, levels, list_probes, next_level
from fass_jax.signals.op_weights import op_weights, update_weights
from fass_jax.types import Inspector, Outputs, Targets


def test_a_class_rises_if_it_passed_and_falls_if_not_within_the_bounds():
  level = np.array([0, 0, 3, 10, 10])
  passed = np.array([True, False, False, True, False])
  np.testing.assert_array_equal(next_level(level, passed, 10), [1, 0, 2, 10, 9])


def test_probes_are_ten_times_the_level_and_one():
  classes, strengths = list_probes(np.array([0, 2]), 10)
  # class 0: 10; class 1: 10 + 20 + 30; in general 5 (L + 1)(L + 2)
  assert [(classes == c).sum() for c in (0, 1)] == [10, 60]
  assert [((classes == 1) & (strengths == s)).sum() for s in range(3)] == [10, 20, 30]
  assert len(list_probes(np.array([10]), 10)[0]) == 660


@pytest.mark.parametrize('share, want', [(1.0, 3), (0.6, 1), (0.65, 3)])
def test_all_levels_must_be_passed_strictly(share, want):
  """Class 1 stands at level 2; the probe is right in a share of the draws at each level."""
  signal = levels('natural', 0.5, 0.6, 20, 10)

  def probe(key, rng, classes, op, strengths):
    assert op == 'cuda'
    right = np.zeros(len(classes), bool)
    for c in (0, 1):
      for s in range(3):
        at = np.flatnonzero((classes == c) & (strengths == s))
        right[at[: round(share * len(at))]] = True
    return right

  state = Levels(jnp.array([0, 2], jnp.int32))
  new = signal.refresh(state, Inspector(None, probe), jax.random.key(0), jnp.asarray(1))
  assert int(new.level[1]) == want and int(new.level[0]) == (0 if share == 0.6 else 1)
  assert signal.describe(state, new)['level_max'] == want


def test_one_failed_level_is_enough_to_fall():
  signal = levels('natural', 0.5, 0.6, 10, 10)
  inspector = Inspector(None, lambda key, rng, classes, op, strengths: strengths != 1)
  state = Levels(jnp.array([2, 0], jnp.int32))
  new = signal.refresh(state, inspector, jax.random.key(0), jnp.asarray(1))
  np.testing.assert_array_equal(new.level, [1, 1])


def test_half_of_the_images_get_the_level_of_their_class():
  signal = levels('natural', 0.5, 0.6, 10, 10)
  state = Levels(jnp.array([0, 7], jnp.int32))
  got = np.asarray(signal.strength(state, jax.random.key(0), jnp.ones(4000, jnp.int32)))
  assert set(got) == {0.0, 7.0} and abs((got == 7).mean() - 0.5) < 4 * 0.5 / 4000**0.5
  assert (np.asarray(signal.strength(state, jax.random.key(0), jnp.zeros(9, jnp.int32))) == 0).all()


def test_weights_follow_the_hits_and_never_fall_below_one():
  weight = jnp.array([[1, 3], [1, 3], [5, 1], [1, 1]], jnp.int32)
  op = jnp.array([1, 1, 0, 0])
  hits, last = jnp.array([5.0, 2.0, 2.0, 0.0]), jnp.array([4.0, 3.0, 2.0, 1.0])
  got = update_weights(weight, op, hits, last)
  np.testing.assert_array_equal(got, [[1, 4], [1, 2], [5, 1], [1, 1]])


def outputs(predictions, num_classes):
  return Outputs(jax.nn.one_hot(jnp.array(predictions), num_classes)[:, None], jnp.zeros((4, 1)))


def test_hits_are_counted_and_weights_wait_for_their_start():
  signal = op_weights('natural', 0.5, 0.25, 8)
  state = signal.init(3)
  labels = jnp.array([0, 0, 1, 2])
  targets = Targets(labels, labels, jnp.ones(4))
  mask = jnp.array([True, True, True, False])
  state = signal.observe(state, outputs([0, 1, 1, 2], 3), targets, mask)
  np.testing.assert_array_equal(state.hits, [1, 1, 0])
  early = signal.refresh(state, None, jax.random.key(0), jnp.asarray(2))
  assert (np.asarray(early.weight) == 1).all()  # 2 is not above .25 * 8
  np.testing.assert_array_equal(early.last, [1, 1, 0])
  assert (np.asarray(early.hits) == 0).all()
  late = signal.refresh(state, None, jax.random.key(0), jnp.asarray(3))
  assert [int(late.weight[c, state.op[c]]) for c in range(3)] == [2, 2, 1]


def test_ops_are_drawn_by_weight():
  signal = op_weights('natural', 0.5, 0.25, 8)
  state = signal.init(4000)
  state = state._replace(weight=state.weight.at[:, 3].set(11))
  new = signal.refresh(state, None, jax.random.key(1), jnp.asarray(0))
  # 11 of 20
  assert abs((np.asarray(new.op) == 3).mean() - 0.55) < 4 * 0.5 / 4000**0.5
  got = np.asarray(signal.strength(new, jax.random.key(0), jnp.zeros(400, jnp.int32)))
  assert set(got) == {0.0, float(new.op[0]) + 1}
