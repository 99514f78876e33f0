"""The router of experts, and batch normalisation that stands still outside the trained parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.nets import paths
from fass_jax.nets.base import apply, experts_used, mean_logits
from fass_jax.nets.heads import Router, running_mean
from fass_jax.types import Outputs, UserError
from tests import tiny


@pytest.mark.parametrize(
  ('experts', 'classes', 'count'),
  [
    # two layers 48 -> 16, and a shared one of 16 + 30 or 16 + 10 inputs
    (3, 100, 2 * (48 * 16 + 16) + 47),
    (3, 10, 2 * (48 * 16 + 16) + 27),
  ],
)
def test_parameter_count(experts, classes, count):
  def shapes(**how):
    net = tiny.built('resnet_cifar', 32, 'cosine', 30.0, classes, experts=experts, **how)
    return jax.eval_shape(lambda key: net.init(key, (32, 32, 3)), jax.random.key(0))['params']

  plain, routed = paths.flat(shapes()), paths.flat(shapes(router=True))
  own = {p: x for p, x in routed.items() if p not in plain}
  assert all(p.startswith('head/router/') for p in own)
  assert sum(x.size for x in own.values()) == count
  # everything else has the path and the shape that it has without: a finished run fits
  assert {p: routed[p].shape for p in plain} == {p: x.shape for p, x in plain.items()}


def test_router_against_numpy():
  rng = np.random.default_rng(0)
  x = rng.normal(0, 2, (5, 3, 4)).astype(np.float32)
  z = rng.normal(0, 3, (5, 3, 7)).astype(np.float32)
  router = Router(hidden=6, choices=2)
  variables = router.init(jax.random.key(0), x, z)
  run = jax.jit(router.apply)
  got = run(variables, x, z)
  p = jax.tree.map(np.float64, variables['params'])
  for i in range(2):
    unit = x[:, i] / np.linalg.norm(x[:, i], axis=-1, keepdims=True)
    own = np.maximum(unit @ p[f'expert{i}']['kernel'] + p[f'expert{i}']['bias'], 0)
    top = -np.sort(-z[:, : i + 1].mean(1))[:, :2]
    want = np.concatenate([top, own], -1) @ p['shared']['kernel'] + p['shared']['bias']
    np.testing.assert_allclose(got[:, i], want[:, 0], rtol=1e-4, atol=1e-4)
  # a length of features says nothing, and a length of zero does no harm
  np.testing.assert_allclose(run(variables, 7 * x, z), got, rtol=1e-4, atol=1e-5)
  grad = jax.grad(lambda x: run(variables, x, z).sum())(jnp.zeros_like(x))
  assert np.isfinite(grad).all()


def test_routing_stops_where_it_says():
  # four images: stop at once; after two experts; ask all; the second stop is not looked at
  route = jnp.array([[-1.0, 5.0], [2.0, -0.1], [0.1, 0.1], [0.0, 3.0]])
  logits = jnp.asarray(np.random.default_rng(1).normal(0, 1, (4, 3, 5)), jnp.float32)
  outs = Outputs(logits, jnp.zeros((4, 1)), route=route)
  np.testing.assert_array_equal(experts_used(outs), [1, 2, 3, 1])
  want = [logits[0, 0], logits[1, :2].mean(0), logits[2].mean(0), logits[3, 0]]
  np.testing.assert_allclose(mean_logits(outs), want, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(running_mean(logits)[:, 2], logits.mean(1), rtol=1e-5, atol=1e-6)


def test_a_router_needs_experts():
  with pytest.raises(UserError, match=r'net.router=True needs --config.net.experts=2'):
    tiny.built('resnet_cifar', 8, 'cosine', 30.0, 10, router=True)


def test_batch_statistics_stand_still_outside_the_moving_parts():
  x = jnp.asarray(np.random.default_rng(2).normal(1, 2, (4, 8, 8, 3)), jnp.float32)

  def build(*moving):
    return tiny.built('resnet_cifar', 8, 'linear', 30.0, 10, moving=moving)

  # a part, and a parameter of a layer; nothing of the backbone
  some, none = build('body/stage3_block0', 'body/bn1/scale', 'head'), build('head')
  variables = none.init(jax.random.key(0), (8, 8, 3))
  how = ((some, True), (none, True), (none, False))
  passes = jax.jit(lambda v: [apply(net, v, x, train) for net, train in how])
  in_part, in_none, still = passes(variables)
  before = paths.flat(variables['batch_stats'])

  def moved(stats):
    after = paths.flat(stats)
    assert after.keys() == before.keys()
    return {p for p in before if not np.array_equal(before[p], after[p])}

  late = {p for p in before if 'stage3' in p}
  assert moved(in_part[1]) == late | {'body/bn1/mean', 'body/bn1/var'} and len(late) == 4
  assert moved(in_none[1]) == set()
  np.testing.assert_allclose(in_none[0].logits, still[0].logits, rtol=1e-5, atol=1e-5)
  assert np.abs(in_part[0].logits - still[0].logits).max() > 1e-2
