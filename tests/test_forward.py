"""Mixes of features: what the head is shown, by hand, in every way of passing the views."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.engine import feed, step, views
from fass_jax.engine.forward import forward, teacher_logits
from fass_jax.recipe.build import build
from fass_jax.sampling import named, partners
from fass_jax.types import UserError
from tests import pieces, runs
from tests.bench import Bench


@pytest.fixture(scope='module', autouse=True)
def tiny():
  with pytest.MonkeyPatch.context() as patch:
    runs.use_tiny_net(patch)
    yield


def seen(bench, state=None):
  """Returns the views of a bench's next step."""
  state = bench.state() if state is None else state
  t = step.clock(bench.recipe, state.step)
  key = jax.random.fold_in(state.key, state.step)
  store, plan = bench.store, bench.plan(state)
  batches = views.draw_streams(bench.recipe, set(bench.recipe.streams), key, t, store, plan)
  return {
    n: views.build_view(
      bench.recipe, n, batches[v.stream], key, state.signals, t, store, plan
    )
    for n, v in bench.recipe.views.items()
  }  # fmt: skip


def passed(bench, inputs, mixes_features=True):
  """Returns what comes out of the network; else features stay as they are."""
  recipe, state = bench.recipe, bench.state()
  if not mixes_features:
    plain = {n: v._replace(mixes_features=False) for n, v in recipe.views.items()}
    recipe = recipe._replace(views=plain)
  # one batch: to optimise it takes longer than it then runs
  options = {'xla_backend_optimization_level': 0}
  program = jax.jit(functools.partial(forward, recipe), compiler_options=options)
  return program(state.params, state.batch_stats, inputs)


def blended(x, inp):
  lam = np.asarray(inp.lam)[:, None]
  return lam * np.asarray(x) + (1 - lam) * np.asarray(x)[np.asarray(inp.rows)]


@pytest.fixture(scope='module')
def bench():
  return Bench('--config=digits_lt.py:manifold_mixup')


def test_images_stay_and_the_labels_are_those_of_the_rows(bench):
  inp, own = seen(bench)['natural'], seen(Bench('--config=digits_lt.py:ce'))['natural']
  np.testing.assert_array_equal(inp.x, own.x)
  np.testing.assert_array_equal(inp.labels, own.labels)
  assert sorted(inp.rows.tolist()) == list(range(8))
  np.testing.assert_array_equal(inp.targets.b, own.labels[inp.rows])
  np.testing.assert_array_equal(inp.targets.lam, inp.lam)
  assert len(set(inp.lam.tolist())) == 1 and 0 < inp.lam[0] < 1  # one draw a batch


def test_the_head_is_shown_the_blend_of_the_features(bench):
  inputs = seen(bench)
  (outs, stats), (own, same) = (passed(bench, inputs, deep) for deep in (True, False))
  features = blended(own['natural'].features, inputs['natural'])
  np.testing.assert_allclose(outs['natural'].features, features, rtol=1e-5, atol=1e-5)
  head = bench.state().params['head']['linear']
  logits = features @ np.asarray(head['kernel']) + np.asarray(head['bias'])
  np.testing.assert_allclose(outs['natural'].logits[:, 0], logits, rtol=1e-4, atol=1e-4)
  # batch statistics are those of whole images
  jax.tree.map(np.testing.assert_array_equal, stats, same)
  assert np.abs(outs['natural'].features - own['natural'].features).max() > 0.1


@pytest.mark.parametrize(
  ('method', 'kind'), [('bcl', 'separate'), ('range', 'vmapped'), ('range', 'joint')]
)
def test_other_views_of_a_pass_are_not_mixed(method, kind):
  """BCL's are in the same pass as they are; the one of `range` is, or is not."""
  b = Bench(f'--config=digits_lt.py:manifold_mixup+{method}', f'--config.forward={kind}')
  inputs = seen(b)
  outs, own = passed(b, inputs)[0], passed(b, inputs, mixes_features=False)[0]
  want = blended(own['natural'].features, inputs['natural'])
  np.testing.assert_allclose(outs['natural'].features, want, rtol=1e-4, atol=1e-4)
  assert len(outs) > 1
  for name in set(outs) - {'natural'}:
    np.testing.assert_allclose(outs[name].features, own[name].features, rtol=1e-4, atol=1e-4)


def test_experts_are_mixed_each():
  b = Bench('--config=digits_lt.py:manifold_mixup', '--config.net.experts=2')
  inputs = seen(b)
  outs, own = (passed(b, inputs, deep)[0]['natural'].features for deep in (True, False))
  assert outs.shape == (8, 2, 6)
  want = blended(np.asarray(own).reshape(8, -1), inputs['natural']).reshape(8, 2, 6)
  np.testing.assert_allclose(outs, want, rtol=1e-5, atol=1e-5)


def test_a_teacher_is_shown_the_same_mix(bench):
  state, inputs = bench.state(), seen(bench)
  teaching = bench.recipe._replace(
    teacher=bench.recipe.net,
    terms={'x': bench.recipe.terms['natural']._replace(needs_teacher=True)},
  )
  teacher = {'params': state.params, 'batch_stats': state.batch_stats}
  told = teacher_logits(teaching, inputs, bench.store._replace(teacher=teacher))['natural']
  net = bench.recipe.net
  features = net.embed(teacher, inputs['natural'].x, False)[0]
  mixed = jnp.asarray(blended(features, inputs['natural']))
  np.testing.assert_allclose(
    told, net.head(teacher, mixed, False)[0].logits[:, 0], rtol=1e-4, atol=1e-4
  )


def test_a_masked_coin_leaves_the_batch_as_it_is():
  b = Bench(
    '--config=digits_lt.py:manifold_mixup',
    '--config.streams.natural.chance=((0, 0.0), (0.5, 1.0))',
  )
  inputs = seen(b)
  np.testing.assert_array_equal(inputs['natural'].lam, np.ones(8))
  outs, own = (passed(b, inputs, deep)[0]['natural'].logits for deep in (True, False))
  np.testing.assert_array_equal(outs, own)


def test_no_partner_is_loaded(bench):
  assert set(feed.sites(bench.recipe, ('natural',))) == {'natural/own/crop'}
  state = bench.state()
  plan = step.plan_epoch(bench.recipe, state.key, state.step, bench.store, state.signals)
  assert set(plan) == {'natural'}


def test_the_rows_are_those_of_plain_mixup():
  key, index = jax.random.key(3), jnp.arange(100, 164)
  drawn = named.PARTNERS['permutation'].choose(key, index, None, None, None)
  np.testing.assert_array_equal(drawn, jax.random.permutation(key, index))
  np.testing.assert_array_equal(drawn, index[partners.batch_rows(key, 64)])


def test_it_is_refused_where_the_partner_is_no_row_of_the_batch():
  config = runs.config_of(
    '--config=digits_lt.py:manifold_mixup', '--config.streams.natural.partner=reversed'
  )
  with pytest.raises(UserError, match=r'partner=permutation: it mixes features of one batch'):
    build(config, pieces.digits())
