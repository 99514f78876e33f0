"""ResNet and ResNeXt for large images: sizes, initial values, a block against NumPy, experts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.nets import paths
from fass_jax.nets.base import apply
from fass_jax.nets.resnet import Bottleneck
from fass_jax.types import UserError
from tests import tiny

EPS = 1e-5


def shapes(backbone, depth, head='linear_torch', classes=1000, side=64, **how):
  net = tiny.built(backbone, depth, head, 30.0, classes, **how)
  return jax.eval_shape(lambda key: net.init(key, (side, side, 3)), jax.random.key(0))


def size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
  ('backbone', 'depth', 'count'),
  [
    ('resnet', 10, 5_418_792),
    ('resnet', 18, 11_689_512),
    ('resnet', 50, 25_557_032),
    ('resnet', 101, 44_549_160),
    ('resnext', 50, 25_028_904),
  ],
)
def test_parameter_count_is_the_published_one(backbone, depth, count):
  tree = shapes(backbone, depth)
  assert size(tree['params']) == count
  kernels = [p for p in paths.flat(tree['params']) if 'kernel' in p and 'downsample' not in p]
  assert len(kernels) == depth  # the convolutions and the head


def expert_count(groups, width, classes, experts):
  """Weights of RIDE's ResNet-50, layer by layer: the shared part, layers 3 and 4 of each expert."""

  def layer(inside, planes, blocks):
    inner, outer = planes * width // 64 * groups, 4 * planes
    first = inside * inner + 9 * inner * inner // groups + inner * outer + inside * outer
    later = outer * inner + 9 * inner * inner // groups + inner * outer
    return first + (blocks - 1) * later + blocks * (4 * inner + 2 * outer) + 2 * outer

  shared = 49 * 3 * 64 + 2 * 64 + layer(64, 64, 3) + layer(256, 128, 4)
  return shared + experts * (layer(512, 192, 6) + layer(768, 384, 3) + 1536 * classes)


@pytest.mark.parametrize(('backbone', 'groups', 'width'), [('resnet', 1, 64), ('resnext', 32, 4)])
def test_experts_have_three_quarters_of_layers_3_and_4(backbone, groups, width):
  tree = shapes(backbone, 50, 'cosine', experts=3)
  assert size(tree['params']) == expert_count(groups, width, 1000, 3)
  kernels = paths.flat(tree['params']['body'])
  assert kernels['expert2_layer3_block0/conv1/kernel'].shape == (
    1,
    1,
    512,
    192 * width // 64 * groups,
  )
  assert kernels['expert2_layer4_block2/conv3/kernel'].shape[-1] == 1536


def test_whole_experts_and_their_outputs():
  net = tiny.built('resnet', 10, 'cosine', 30.0, 7, experts=2, reduced=False)
  whole = jax.eval_shape(lambda key: net.init(key, (32, 32, 3)), jax.random.key(0))
  assert whole['params']['body']['expert1_layer4_block0']['conv2']['kernel'].shape[-1] == 512
  x = jnp.zeros((4, 32, 32, 3))
  outs, stats = jax.eval_shape(lambda v: apply(net, v, x, True), whole)
  assert outs.features.shape == (4, 2, 512) and outs.logits.shape == (4, 2, 7)
  assert jax.tree.structure(stats) == jax.tree.structure(whole['batch_stats'])


@pytest.mark.parametrize(
  ('backbone', 'depth', 'there'),
  [('resnet', 32, '10, 18, 34, 50, 101 or 152'), ('resnext', 101, '50')],
)
def test_another_depth_is_refused_with_those_there_are(backbone, depth, there):
  with pytest.raises(UserError, match=f'depth={depth} does not exist .*; use {there}[.]$'):
    tiny.built(backbone, depth, 'linear', 30.0, 10)


def test_init_laws():
  net = tiny.built('resnet', 10, 'linear_torch', 30.0, 1000)
  names = (
    'conv1/kernel', 'layer4_block0/conv1/kernel', 'layer2_block0/downsample_conv/kernel',
    'layer2_block0/downsample_bn/scale', 'layer1_block0/bn2/scale', 'bn1/bias',
  )  # fmt: skip
  names = (*(f'body/{n}' for n in names), 'head/linear/kernel', 'head/linear/bias')

  @jax.jit
  def draw(key):  # only what is looked at is compiled
    params = paths.flat(net.init(key, (32, 32, 3))['params'])
    return {n: params[n] for n in names}

  drawn = draw(jax.random.key(0))
  x = jnp.zeros((1, 4, 4, 64))
  grouped = jax.jit(lambda key: Bottleneck(64, 1, 32, 4).init(key, x, True))(jax.random.key(1))
  # fan_out: side^2 times all outputs, whatever the groups
  for w, fan_out in (
    (drawn['body/conv1/kernel'], 49 * 64),
    (drawn['body/layer4_block0/conv1/kernel'], 9 * 512),
    (drawn['body/layer2_block0/downsample_conv/kernel'], 128),
    (grouped['params']['conv2']['kernel'], 9 * 128),
  ):
    w, std = np.asarray(w, np.float64), np.sqrt(2 / fan_out)
    assert abs(w.std() / std - 1) < 5 / np.sqrt(2 * w.size), w.shape
    share = (np.abs(w) > 2.5 * std).mean()  # a normal, not a truncated one
    assert abs(share - 0.01242) < 5 * np.sqrt(0.01242 / w.size), w.shape
  for name, value in drawn.items():
    if 'bn' in name:
      np.testing.assert_array_equal(value, np.full(value.shape, float('scale' in name)))
  bound = 512**-0.5
  for name in ('kernel', 'bias'):
    w = np.asarray(drawn[f'head/linear/{name}'])
    assert 0.99 * bound < np.abs(w).max() <= bound
    assert abs(w.std() / (bound / np.sqrt(3)) - 1) < 0.05


def conv(x, kernel, stride=1, groups=1):
  """A convolution with a border of zeros, tap by tap, in double precision."""
  edge = kernel.shape[0] // 2
  frame = np.pad(np.float64(x), ((0, 0), (edge, edge), (edge, edge), (0, 0)))
  parts = []
  for g in range(groups):
    own = slice(g * kernel.shape[2], (g + 1) * kernel.shape[2])
    out = slice(g * kernel.shape[3] // groups, (g + 1) * kernel.shape[3] // groups)
    parts.append(
      sum(
        frame[:, i : i + x.shape[1] : stride, j : j + x.shape[2] : stride, own]
        @ np.float64(kernel[i, j][:, out])
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
      )
    )
  return np.concatenate(parts, -1)


def test_bottleneck_against_numpy():
  groups, width = 4, 32
  x = np.random.default_rng(0).normal(size=(2, 6, 4, 8)).astype(np.float32)
  block = Bottleneck(4, 2, groups, width)
  variables = block.init(jax.random.key(0), x, True)
  kernels = {n: np.asarray(p['kernel']) for n, p in variables['params'].items() if 'kernel' in p}
  assert kernels['conv2'].shape == (3, 3, 4 * width // 64, 4 * width // 64 * groups)
  still = np.sqrt(1 + EPS)  # running mean 0 and variance 1
  y = np.maximum(conv(x, kernels['conv1']) / still, 0)
  y = np.maximum(conv(y, kernels['conv2'], 2, groups) / still, 0)
  y = conv(y, kernels['conv3']) / still + conv(x, kernels['downsample_conv'], 2) / still
  got = block.apply(variables, x, False)
  np.testing.assert_allclose(got, np.maximum(y, 0), rtol=1e-4, atol=1e-5)
