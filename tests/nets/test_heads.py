"""Heads of the long-tail families: factors by class, a bias at the prior, two branches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.nets import paths
from fass_jax.nets.base import apply
from fass_jax.recipe import optimiser
from fass_jax.types import UserError
from tests import tiny


def net_of(head, **how):
  return tiny.built('resnet_cifar', 8, head, 30.0, 10, **how)


def logits_of(net, variables, x):
  return apply(net, variables, x, False)[0].logits


@pytest.fixture(scope='module')
def images():
  return jax.random.normal(jax.random.key(1), (4, 8, 8, 3))


@pytest.mark.parametrize(
  ('head', 'experts', 'where'),
  [('linear', 1, 'head/class_scale'), ('cosine', 1, 'head/class_scale'),
   ('linear', 2, 'head/heads_1/class_scale')],
)  # fmt: skip
def test_class_scale_is_one_at_first_and_multiplies_bias_and_all(images, head, experts, where):
  plain, scaled = net_of(head, experts=experts), net_of(head, experts=experts, class_scale=True)
  variables = scaled.init(jax.random.key(0), (8, 8, 3))
  without = plain.init(jax.random.key(0), (8, 8, 3))
  both = paths.flat(variables['params'])
  assert both.keys() - paths.flat(without['params']).keys() >= {where}
  before = logits_of(plain, without, images)
  np.testing.assert_array_equal(logits_of(scaled, variables, images), before)
  factors = jnp.arange(1.0, 11.0)
  variables['params'] = paths.mapped(
    lambda p, x: factors if p.endswith('class_scale') else x, variables['params']
  )
  after = logits_of(scaled, variables, images)
  np.testing.assert_allclose(after, before * factors[None, None], rtol=1e-6)


def test_the_bias_of_sigmoids_begins_at_the_prior():
  params = net_of('linear_prior').init(jax.random.key(0), (8, 8, 3))['params']
  bias = params['head']['linear']['bias']
  np.testing.assert_allclose(jax.nn.sigmoid(bias), np.full(10, 0.1), rtol=1e-6)


def test_branches_share_all_but_the_last_block(images):
  net = tiny.built('resnet_cifar', 14, 'linear', 30.0, 10, experts=2, reduced=False, branch='block')
  variables = net.init(jax.random.key(0), (8, 8, 3))
  names = set(variables['params']['body'])
  shared = {f'stage{s}_block{b}' for s in (1, 2, 3) for b in (0, 1)} - {'stage3_block1'}
  assert names == {'conv1', 'bn1', *shared, 'expert0_stage3_block1', 'expert1_stage3_block1'}
  out, _ = apply(net, variables, images, False)
  assert out.logits.shape == (4, 2, 10) and out.features.shape == (4, 2, 64)
  # a branch alone is the plain network with its block
  plain = tiny.built('resnet_cifar', 14, 'linear', 30.0, 10)
  for e in (0, 1):

    def own(tree, e=e):
      return {
        k.removeprefix(f'expert{e}_'): v for k, v in tree.items() if f'expert{1 - e}' not in k
      }

    alone = {
      'params': {
        'body': own(variables['params']['body']),
        'head': variables['params']['head'][f'heads_{e}'],
      },
      'batch_stats': {'body': own(variables['batch_stats']['body'])},
    }
    np.testing.assert_allclose(
      logits_of(plain, alone, images)[:, 0], out.logits[:, e], rtol=1e-5, atol=1e-5
    )


def test_bbn_has_a_block_of_layer_four_for_each_branch_of_resnet_50():
  net = tiny.built('resnet', 50, 'linear', 30.0, 10, experts=2, reduced=False, branch='block')
  shapes = jax.eval_shape(lambda k: net.init(k, (64, 64, 3)), jax.random.key(0))
  body = shapes['params']['body']
  own = sorted(n for n in body if n.startswith('expert'))
  assert own == ['expert0_layer4_block2', 'expert1_layer4_block2'] and 'layer4_block1' in body


def test_narrower_branches_are_refused():
  with pytest.raises(UserError, match='net.reduced=False'):
    net_of('linear', experts=2, branch='block')


def test_patterns_name_parts_wherever_they_are():
  for path, part, inside in (
    ('head/linear/bias', '*/bias', True),
    ('head/heads_0/linear/bias', '*/linear/bias', True),
    ('head/linear/kernel', '*/bias', False),
    ('head/linear/bias', 'head', True),
    ('header/bias', 'head', False),
    ('body/bn1/scale', 'body/*', True),
    ('body/bn1/scale', '', True),
  ):
    assert paths.inside(path, (part,)) == inside, (path, part)


def test_parts_without_decay_keep_their_size():
  params = {'head': {'linear': {'kernel': jnp.ones(3), 'bias': jnp.ones(2)}}}
  zeros = jax.tree.map(jnp.zeros_like, params)
  rule = optimiser.sgd(0.0, 0.1, False, (), ('*/bias',))
  moved, _ = rule.update(zeros, rule.init(params), params)
  np.testing.assert_allclose(moved['head']['linear']['kernel'], np.full(3, 0.1), rtol=1e-6)
  np.testing.assert_array_equal(moved['head']['linear']['bias'], np.zeros(2))
