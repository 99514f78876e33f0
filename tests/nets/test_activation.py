"""Class activation maps: their mean and the bias are the logit; Grad-CAM where no row is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import nets
from fass_jax.nets import paths
from fass_jax.nets.base import apply
from tests import tiny

CASES = {
  'small images': ('resnet_cifar', 8, 'linear', {}),
  'factors of classes': ('resnet_cifar', 8, 'linear', {'class_scale': True}),
  'large images': ('resnet', 10, 'linear_torch', {}),
  'experts': ('resnet_cifar', 8, 'linear', {'experts': 3}),
  'two branches': (
    'resnet_cifar',
    8,
    'linear',
    {'experts': 2, 'branch': 'block', 'reduced': False},
  ),
}


def class_activation(net, variables, x, labels):
  """The product's, as one program."""
  return jax.jit(functools.partial(nets.class_activation, net))(variables, x, labels)


def network(case):
  backbone, depth, head, how = CASES[case]
  net = tiny.built(backbone, depth, head, 30.0, 10, **how)
  side = 64 if backbone == 'resnet' else 16
  variables = net.init(jax.random.key(0), (side, side, 3))
  # a bias and factors that are not what they begin with
  variables['params'] = paths.mapped(
    lambda p, v: v + jnp.arange(10) / 10 if p.startswith('head') and v.shape == (10,) else v,
    variables['params'],
  )
  return net, variables, jax.random.normal(jax.random.key(1), (6, side, side, 3))


@pytest.mark.parametrize('case', CASES)
def test_the_mean_of_a_map_and_the_bias_are_the_logit(case):
  net, variables, x = network(case)
  labels = jnp.array([0, 3, 9, 3, 5, 1])
  activation = class_activation(net, variables, x, labels)
  outs, _ = apply(net, variables, x, False)
  flat = paths.flat(variables['params']['head'])
  bias = [b for p, b in flat.items() if p.endswith('bias')]
  if 'class_scale' in flat:
    bias = [b * flat['class_scale'] for b in bias]
  mean = sum(bias) / len(bias)
  want = jnp.take_along_axis(outs.logits.mean(1), labels[:, None], axis=1)[:, 0] - mean[labels]
  np.testing.assert_allclose(activation.mean((1, 2)), want, rtol=2e-4, atol=2e-5)
  size = {'large images': 2}.get(case, 4)
  assert activation.shape == (6, size, size)
  assert float(activation.std(axis=(1, 2)).min()) > 0


def test_a_map_is_the_rows_of_the_head_over_the_maps():
  net, variables, x = network('small images')
  rows = variables['params']['head']['linear']['kernel']
  for label in (2, 7):
    got = class_activation(net, variables, x, jnp.full(6, label))
    want = np.einsum('bhwd,d->bhw', np.asarray(net.maps(variables, x)), np.asarray(rows[:, label]))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('case', ['small images', 'large images', 'experts'])
def test_a_map_lies_as_its_image_does(case):
  """What changes with a corner of the image are the maps of that corner."""
  net, variables, x = network(case)
  side = x.shape[1]
  there = net.maps(variables, x.at[:, : side // 8, -side // 8 :].add(3.0))
  change = np.abs(np.asarray(there - net.maps(variables, x))).sum(-1)
  change = change.reshape(-1, *change.shape[-2:]).mean(0)
  assert np.unravel_index(change.argmax(), change.shape) == (0, change.shape[1] - 1)
  assert change[0, -1] > 1.3 * max(change[0, 0], change[-1, 0], change[-1, -1])


def test_of_a_cosine_head_it_is_grad_cam():
  """The logit does not see the length of the features, so its gradient adds nothing along them."""
  net = tiny.built('resnet_cifar', 8, 'cosine', 30.0, 10)
  variables = net.init(jax.random.key(0), (16, 16, 3))
  x = jax.random.normal(jax.random.key(1), (6, 16, 16, 3))
  got = np.asarray(class_activation(net, variables, x, jnp.arange(6)))
  assert np.abs(got.mean((1, 2))).max() < 1e-3 * np.abs(got).max()
  # by hand: d (s w f / |f|) / d f = s (w - (w u) u) / |f|, u = f / |f|
  maps = np.asarray(net.maps(variables, x), np.float64)
  f, w = maps.mean((1, 2)), np.asarray(variables['params']['head']['kernel'], np.float64).T
  length = np.linalg.norm(f, axis=1, keepdims=True)
  u, w = f / length, w[:6] / np.linalg.norm(w[:6], axis=1, keepdims=True)
  g = 30.0 * (w - (w * u).sum(1, keepdims=True) * u) / length
  np.testing.assert_allclose(got, np.einsum('bhwd,bd->bhw', maps, g), rtol=1e-3, atol=1e-3)
