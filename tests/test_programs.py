"""Chunks of steps, one pass for several views, several seeds: other programs, equal numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import nets
from fass_jax.engine import programs, step
from fass_jax.engine.forward import forward
from tests import runs
from tests.bench import Bench

SEEDS = (0, 1, 2)


def leaves(state):
  state = state._replace(key=jax.random.key_data(state.key))
  return {jax.tree_util.keystr(p): np.asarray(x) for p, x in
          jax.tree_util.tree_leaves_with_path(state)}  # fmt: skip


def largest_difference(a, b):
  a, b = leaves(a), leaves(b)
  assert a.keys() == b.keys()
  # relative where a sum has grown beyond 1
  return max(
    (np.abs(a[k].astype(np.float64) - b[k]) / np.maximum(1.0, np.abs(b[k]))).max() for k in a
  )


@pytest.fixture(scope='module')
def smooth():
  """A network without kinks: x sigmoid(x) for max(x, 0).

  Two programs that round differently differ by 1e-7 a step until one of a million activations
  that is almost zero takes another sign in one of them; from there on the gradients of the two
  part by a factor of 30 a step. Without kinks they stay together, at the learning rate of .1 too.
  """
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax.nn, 'relu', jax.nn.silu)
    runs.compile_quickly(patch, 0)  # the level at which steps are fused is another one
    yield


@pytest.fixture(scope='module')
def looped(smooth):
  """Four steps of FASS with one of its views, one by one."""
  b = Bench('--config=digits_lt.py:fass_mixup', batch=64)
  every = step.active_views(b.recipe, 1, {})
  return b, every, b.run([b.state()], programs.Key((every,), 1), 4)[0]


def test_an_unrolled_chunk_is_the_loop_bit_for_bit(looped):
  b, every, want = looped
  (got,) = b.run([b.state()], programs.Key((every,), 2), 2, unroll=2)
  assert int(got.step) == 10
  for name, value in leaves(want).items():
    np.testing.assert_array_equal(leaves(got)[name], value, err_msg=name)


def test_a_rolled_chunk_is_the_loop(looped):
  b, every, want = looped
  (got,) = b.run([b.state()], programs.Key((every,), 4), 1)
  assert largest_difference(got, want) < 1e-6
  assert largest_difference(b.state(), want) > 1e-3


def test_a_chunk_picks_the_pattern_of_each_step(monkeypatch):
  runs.compile_quickly(monkeypatch, 0)
  b = Bench('--config.streams.pair.gate=coin', net='linear')
  patterns = programs.patterns_of(b.recipe, 1)
  assert patterns == (('natural', 'mixup', 'cutmix'), ('natural',))
  faces = [0, 1, 1, 0, 1]
  which = jnp.asarray(faces + [0] * (b.recipe.steps_per_epoch - 5))
  (got,) = b.run([b.state()], programs.Key(patterns, 5), 1, which=which)
  (want,) = states = [b.state()]
  for face in faces:
    states = b.run(states, programs.Key((patterns[face],), 1), 1)
  (want,) = states
  assert largest_difference(got, want) < 1e-6
  assert float(got.tally['terms']['fs']['steps']) == 2


def test_views_in_one_pass_are_the_separate_views():
  """Outputs, gradients and running statistics; all three views have the size of the batch."""
  found = {}
  for kind in ('separate', 'vmapped', 'joint'):
    b = Bench(f'--config.forward={kind}', '--config.streams.pair.rho=1')
    state = b.state()
    images = jax.random.normal(jax.random.key(1), (3, 8, 8, 8, 3))
    inputs = {n: _input(x) for n, x in zip(b.recipe.views, images)}

    def loss(params, b=b, state=state, inputs=inputs):
      outs, stats = forward(b.recipe, params, state.batch_stats, inputs)
      weights = jnp.arange(1.0, 4.0)
      return sum(w * jnp.sin(o.logits).sum() for w, o in zip(weights, outs.values())), (outs, stats)

    options = {'xla_backend_optimization_level': 0}  # it runs once
    grad = jax.jit(jax.grad(loss, has_aux=True), compiler_options=options)
    found[kind] = grad(state.params)
  same = jax.tree.map(lambda a, b: np.abs(a - b).max(), found['separate'], found['vmapped'])
  assert max(jax.tree.leaves(same)) < 2e-5
  # the test can tell: a joint pass has other statistics
  apart = np.abs(found['separate'][1][0]['natural'].logits - found['joint'][1][0]['natural'].logits)
  assert apart.max() > 1e-2


def _input(x):
  from fass_jax.engine.views import Input

  return Input(x, None, None, None, None, None)


def test_views_of_one_size_share_a_pass_and_others_have_their_own(monkeypatch):
  b = Bench('--config.forward=vmapped')
  calls = []
  apply = forward.__globals__['apply']

  def spy(net, variables, x, *rest):
    calls.append(x.shape)
    return apply(net, variables, x, *rest)

  monkeypatch.setitem(forward.__globals__, 'apply', spy)
  state = b.state()
  every = tuple(b.recipe.views)
  jax.eval_shape(functools.partial(step.train_step, b.recipe, every), state, b.store, b.plan(state))
  # 8 natural images; ceil(.3 * 8) = 3 pairs, twice, in one pass
  assert calls == [(8, 8, 8, 3), (3, 8, 8, 3)]


def test_folded_statistics_are_those_of_passes_in_a_row():
  old, batches = 2.0, [1.0, 5.0, -3.0]
  from_old = [0.9 * old + 0.1 * x for x in batches]
  # by hand: 1.9; .9 * 1.9 + .5 = 2.21; .9 * 2.21 - .3 = 1.689
  got = nets.fold_statistics({'m': old}, [{'m': x} for x in from_old])
  assert got['m'] == pytest.approx(1.689, abs=1e-12)


def test_batched_seeds_are_the_single_seeds(smooth):
  """The first ten steps of a run in float32: six of plain training, four with a mixed view."""
  b = Bench('--config=digits_lt.py:fass_mixup', batch=64)
  states = [step.init_state(b.recipe, jax.random.key(seed), (8, 8, 3)) for seed in SEEDS]
  stacked, compiled = programs.stack(states), {}

  def call(patterns, batched, state, plan):
    key = programs.Key(patterns, 1, batched)
    if key not in compiled:
      compiled[key] = programs.compile_program(b.recipe, key, 1, state, b.store, plan, None)
    return compiled[key](state, b.store, plan, None)[0]

  for i in range(10):
    plans = [b.plan(x) for x in states]
    patterns = programs.patterns_of(b.recipe, i // b.recipe.steps_per_epoch)
    stacked = call(patterns, True, stacked, programs.stack(plans))
    states = [call(patterns, False, x, plan) for x, plan in zip(states, plans)]
  assert len(compiled) == 4
  for got, want in zip(programs.unstack(stacked, len(SEEDS)), states):
    assert largest_difference(got, want) < 1e-5
  assert largest_difference(states[0], states[1]) > 1e-2


@pytest.mark.parametrize(
  'first, total, chunk, want',
  [
    (0, 6, 1, [(i, 1) for i in range(6)]),
    (0, 85, 85, [(0, 85)]),
    (0, 10, 4, [(0, 4), (4, 4), (8, 2)]),
    (5, 10, 4, [(5, 3), (8, 2)]),
    (10, 10, 4, []),
  ],
)
def test_pieces_of_an_epoch(first, total, chunk, want):
  assert list(programs.chunks(first, total, chunk)) == want


def test_chunk_length(monkeypatch):
  assert programs.chunk_length(0, 85) == (1 if jax.default_backend() == 'cpu' else 85)
  assert programs.chunk_length(500, 85) == 85
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert programs.chunk_length(0, 85) == 85
  assert programs.chunk_length(0, 906) == 114  # in 8 calls


def test_needed_programs_are_listed_once():
  recipe = Bench(net='linear').recipe
  one, every = (step.active_views(recipe, e, {}) for e in (0, 1))
  key = programs.Key
  assert programs.needed(recipe, 1, 0, 0, False) == [key((one,), 1), key((every,), 1)]
  assert programs.needed(recipe, 1, 3, 20, False) == [key((every,), 1)]
  # 48 steps an epoch in chunks of 20, resumed at 25
  chunks = [(one, 15), (one, 8), (every, 20), (every, 8)]
  assert programs.needed(recipe, 20, 0, 25, False) == [key((on,), n) for on, n in chunks]
  assert programs.needed(recipe, 1, recipe.epochs, 0, False) == []
