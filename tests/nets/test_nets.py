"""Networks: parameter counts, laws of the initial values, and each layer against NumPy."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fass_jax
from fass_jax.nets.base import apply, mean_logits
from fass_jax.nets.heads import CosineHead
from fass_jax.nets.norm import BatchNorm
from fass_jax.nets.resnet_cifar import BasicBlock
from fass_jax.types import Outputs, UserError
from tests import tiny

EPS = 1e-5


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def flat(tree):
  return {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope='module')
def small():
  """A ResNet-8 with its variables."""
  net = tiny.built('resnet_cifar', 8, 'linear', 30.0, 10)
  return net, net.init(jax.random.key(0), (8, 8, 3))


# sizes


@pytest.mark.parametrize(
  ('head', 'classes', 'count'),
  [('linear', 10, 464_154), ('linear', 100, 470_004), ('cosine', 100, 469_904)],
)
def test_parameter_count(head, classes, count):
  net = tiny.built('resnet_cifar', 32, head, 30.0, classes)
  shapes = jax.eval_shape(lambda key: net.init(key, (32, 32, 3)), jax.random.key(0))
  assert sum(x.size for x in jax.tree.leaves(shapes['params'])) == count
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(shapes))
  # 31 convolutions, each with a normalisation of two statistics
  assert len(jax.tree.leaves(shapes['batch_stats'])) == 2 * 31


@pytest.mark.parametrize(('depth', 'blocks'), [(8, 1), (20, 3), (32, 5)])
def test_depth_counts_convolutions_and_the_head(depth, blocks):
  net = tiny.built('resnet_cifar', depth, 'linear', 30.0, 10)
  shapes = jax.eval_shape(lambda key: net.init(key, (8, 8, 3)), jax.random.key(0))
  kernels = [k for k in flat(shapes['params']) if 'kernel' in k]
  assert len(kernels) == depth == 6 * blocks + 2


@pytest.mark.parametrize(
  ('depth', 'near'), [(33, 32), (9, 8), (2, 8), (0, 8), (-4, 8), (110, None)]
)
def test_depth_is_checked(depth, near):
  if near is None:
    tiny.built('resnet_cifar', depth, 'linear', 30.0, 10)
    return
  with pytest.raises(UserError, match=f'depth={depth} is not 6n . 2; the nearest depth is {near}'):
    tiny.built('resnet_cifar', depth, 'linear', 30.0, 10)


def test_shapes_of_a_forward_pass(small):
  net, variables = small
  outs = jax.eval_shape(lambda x: apply(net, variables, x, False)[0], normal(0, 5, 8, 8, 3))
  assert outs.logits.shape == (5, 1, 10)
  assert outs.features.shape == (5, 64)
  assert outs.logits.dtype == outs.features.dtype == jnp.float32


# initial values


def test_init_laws(small):
  _, variables = small
  wide = 0
  for name, w in flat(variables['params']).items():
    w = np.asarray(w, np.float64)
    if 'conv' in name:
      assert w.shape[:2] == (3, 3)
      std = np.sqrt(2 / (9 * w.shape[2]))
      assert abs(w.std() / std - 1) < 5 / np.sqrt(2 * w.size), name
      assert abs(w.mean()) < 5 * std / np.sqrt(w.size), name
      if w.size > 10_000:
        # a normal, not a truncated one: 1.24 % lie beyond 2.5 deviations
        share = (np.abs(w) > 2.5 * std).mean()
        assert abs(share - 0.01242) < 5 * np.sqrt(0.01242 / w.size), name
        wide += 1
    elif 'scale' in name:
      np.testing.assert_array_equal(w, np.ones(w.shape), err_msg=name)
    elif 'bn' in name:
      np.testing.assert_array_equal(w, np.zeros(w.shape), err_msg=name)
  assert wide >= 2
  assert not any('bias' in n and 'conv' in n for n in flat(variables['params']))
  for name, r in flat(variables['batch_stats']).items():
    np.testing.assert_array_equal(r, np.full(r.shape, float('var' in name)), err_msg=name)


def test_init_of_the_linear_head():
  net = tiny.built('resnet_cifar', 8, 'linear', 30.0, 1000)
  head = net.init(jax.random.key(1), (8, 8, 3))['params']['head']['linear']
  w, b = np.asarray(head['kernel']), np.asarray(head['bias'])
  assert w.shape == (64, 1000) and b.shape == (1000,)
  assert abs(w.std() / np.sqrt(2 / 64) - 1) < 5 / np.sqrt(2 * w.size)
  # U(-1/8, 1/8): inside the bounds and filling them
  assert np.abs(b).max() <= 0.125 and b.max() > 0.12 and b.min() < -0.12
  assert abs(b.std() - 0.125 / np.sqrt(3)) < 0.005


def test_init_of_the_cosine_head():
  w = CosineHead(200).init(jax.random.key(2), jnp.zeros((1, 64)))['params']['kernel']
  assert w.shape == (64, 200)
  np.testing.assert_allclose(np.linalg.norm(w, axis=0), np.ones(200), rtol=1e-5)
  # uniform before the scaling: no entry far beyond its column's share
  assert np.abs(w).max() < 2.2 * np.sqrt(3 / 64) / np.sqrt(3)
  assert abs(float(w.mean())) < 5 / 8 / np.sqrt(w.size)


def test_init_depends_on_the_key():
  net = tiny.built('resnet_cifar', 8, 'linear', 30.0, 10)
  a, same, b = (flat(net.init(jax.random.key(k), (8, 8, 3))['params']) for k in (3, 3, 4))
  for name in a:
    np.testing.assert_array_equal(a[name], same[name], err_msg=name)
    if 'kernel' in name or 'head' in name:
      assert (np.asarray(a[name]) != np.asarray(b[name])).all(), name
  # two layers of one shape do not start alike
  first = np.asarray(a["['body']['stage1_block0']['conv1']['kernel']"])
  second = np.asarray(a["['body']['stage1_block0']['conv2']['kernel']"])
  assert (first != second).all()


# batch normalisation


def normalised(x, mean, var, gamma, beta):
  return gamma * (np.float64(x) - mean) / np.sqrt(var + EPS) + beta


def batch_norm(seed):
  gamma, beta, mean = normal(seed, 3), normal(seed + 1, 3), normal(seed + 2, 3)
  var = np.abs(normal(seed + 3, 3)) + 0.5
  params = {'scale': jnp.asarray(gamma), 'bias': jnp.asarray(beta)}
  stats = {'mean': jnp.asarray(mean), 'var': jnp.asarray(var)}
  return {'params': params, 'batch_stats': stats}, (gamma, beta, mean, var)


@pytest.mark.parametrize('shape', [(4, 2, 3, 3), (6, 3), (1, 8, 8, 3)])
def test_batch_norm_in_training(shape):
  x = 2 * normal(9, *shape) + 1
  variables, (gamma, beta, mean, var) = batch_norm(0)
  y, new = BatchNorm().apply(variables, x, True, mutable=['batch_stats'])
  rows = x.reshape(-1, 3).astype(np.float64)
  n = len(rows)
  np.testing.assert_allclose(
    y, normalised(x, rows.mean(0), rows.var(0), gamma, beta), rtol=1e-4, atol=1e-5
  )
  # r <- .9 r + .1 batch, the variance with divisor n - 1
  np.testing.assert_allclose(
    new['batch_stats']['mean'], 0.9 * mean + 0.1 * rows.mean(0), rtol=1e-4, atol=1e-6
  )
  np.testing.assert_allclose(
    new['batch_stats']['var'], 0.9 * var + 0.1 * rows.var(0) * n / (n - 1), rtol=1e-5
  )


def test_running_variance_by_hand():
  # two values 0 and 2: biased variance 1, unbiased 2
  x = jnp.array([[0.0], [2.0]])
  variables = BatchNorm().init(jax.random.key(0), x, True)
  np.testing.assert_array_equal(variables['batch_stats']['mean'], [0])  # init moves nothing
  np.testing.assert_array_equal(variables['batch_stats']['var'], [1])
  y, new = BatchNorm().apply(variables, x, True, mutable=['batch_stats'])
  np.testing.assert_allclose(y, [[-1], [1]], rtol=1e-4)
  np.testing.assert_allclose(new['batch_stats']['mean'], [0.1], rtol=1e-5)
  np.testing.assert_allclose(new['batch_stats']['var'], [1.1], rtol=1e-5)


def test_batch_norm_in_evaluation_reads_the_running_statistics():
  x = 2 * normal(8, 5, 2, 2, 3) + 1
  variables, (gamma, beta, mean, var) = batch_norm(4)
  y = BatchNorm().apply(variables, x, False)
  np.testing.assert_allclose(y, normalised(x, mean, var, gamma, beta), rtol=1e-4, atol=1e-5)


def test_batch_norm_of_one_value():
  # n / (n - 1) is no division by zero
  x = jnp.full((1, 3), 5.0)
  variables, (_, beta, _, var) = batch_norm(2)
  y, new = BatchNorm().apply(variables, x, True, mutable=['batch_stats'])
  np.testing.assert_allclose(y, beta[None], atol=1e-4)
  np.testing.assert_allclose(new['batch_stats']['var'], 0.9 * var, rtol=1e-5)


def test_batch_norm_keeps_half_precision_and_float32_statistics():
  x = jnp.asarray(normal(7, 16, 3), jnp.bfloat16)
  variables, _ = batch_norm(3)
  y, new = BatchNorm().apply(variables, x, True, mutable=['batch_stats'])
  assert y.dtype == jnp.bfloat16
  assert all(r.dtype == jnp.float32 for r in jax.tree.leaves(new))


# the residual block


def silent(params):
  """The parameters of a block whose convolutions say nothing: its output is the shortcut's."""
  return params | {'bn2': jax.tree.map(jnp.zeros_like, params['bn2'])}


@pytest.mark.parametrize(('inside', 'outside'), [(16, 32), (32, 64)])
def test_shortcut_takes_every_second_pixel_and_pads_channels(inside, outside):
  x = normal(0, 2, 8, 6, inside)
  block = BasicBlock(outside, 2)
  variables = block.init(jax.random.key(0), x, True)
  y = block.apply(variables | {'params': silent(variables['params'])}, x, False)
  want = np.zeros((2, 4, 3, outside), np.float32)
  side = (outside - inside) // 2
  want[..., side : side + inside] = x[:, ::2, ::2]
  np.testing.assert_allclose(y, np.maximum(want, 0), rtol=0, atol=1e-6)


def test_shortcut_of_equal_shape_is_the_identity():
  x = normal(1, 2, 4, 4, 16)
  block = BasicBlock(16, 1)
  variables = block.init(jax.random.key(0), x, True)
  y = block.apply(variables | {'params': silent(variables['params'])}, x, False)
  np.testing.assert_allclose(y, np.maximum(x, 0), rtol=0, atol=1e-6)


def conv(x, kernel, stride):
  """A 3x3 convolution with one pixel of zeros on every side, tap by tap."""
  frame = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
  height, width = x.shape[1:3]
  out = 0.0
  for i in range(3):
    for j in range(3):
      window = frame[:, i : i + height : stride, j : j + width : stride]
      out = out + np.einsum('bhwf,fg->bhwg', window, np.float64(kernel[i, j]))
  return out


@pytest.mark.parametrize('stride', [1, 2])
def test_block_against_numpy(stride):
  x = normal(2, 2, 6, 4, 4)
  features = 4 * stride
  block = BasicBlock(features, stride)
  variables = block.init(jax.random.key(1), x, True)
  params = variables['params']
  y = block.apply(variables, x, False)
  still = np.sqrt(1 + EPS)  # running mean 0 and variance 1
  inner = np.maximum(conv(x, np.asarray(params['conv1']['kernel']), stride) / still, 0)
  body = conv(inner, np.asarray(params['conv2']['kernel']), 1) / still
  side = (features - 4) // 2
  skip = np.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (side, side)))
  np.testing.assert_allclose(y, np.maximum(skip + body, 0), rtol=1e-4, atol=1e-5)


# the whole network


def test_evaluation_is_blind_to_the_rest_of_the_batch(small):
  net, variables = small
  x = normal(3, 4, 8, 8, 3)
  run = jax.jit(lambda x: apply(net, variables, x, False))
  outs, stats = run(x)
  other, _ = run(np.concatenate([x[:1], normal(4, 3, 8, 8, 3)]))
  np.testing.assert_allclose(outs.logits[0], other.logits[0], rtol=1e-5, atol=1e-5)
  for name, r in flat(stats).items():
    np.testing.assert_array_equal(r, flat(variables['batch_stats'])[name], err_msg=name)


def test_training_moves_every_statistic(small):
  net, variables = small
  x = normal(5, 4, 8, 8, 3)
  outs, stats = jax.jit(lambda x: apply(net, variables, x, True))(x)
  before, after = flat(variables['batch_stats']), flat(stats)
  assert before.keys() == after.keys()
  assert all((np.asarray(before[n]) != np.asarray(after[n])).all() for n in before)
  still, _ = jax.jit(lambda x: apply(net, variables, x, False))(x)
  assert np.abs(np.asarray(outs.logits) - np.asarray(still.logits)).max() > 1e-2


def test_test_logits_are_the_mean_of_the_experts():
  logits = jnp.array([[[1.0, 3.0], [5.0, -1.0]]])
  np.testing.assert_array_equal(mean_logits(Outputs(logits, jnp.zeros((1, 1)))), [[3.0, 1.0]])


# heads


def test_linear_head_against_numpy(small):
  net, variables = small
  features = normal(6, 3, 64)
  outs, _ = net.head(variables, features, False)
  head = variables['params']['head']['linear']
  want = features @ np.asarray(head['kernel']) + np.asarray(head['bias'])
  np.testing.assert_allclose(outs.logits[:, 0], want, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(outs.features, features)


def cosines(features, kernel):
  x = features / np.linalg.norm(features, axis=1, keepdims=True)
  w = kernel / np.linalg.norm(kernel, axis=0, keepdims=True)
  return x @ w


def test_cosine_logits():
  features, kernel = 5 * normal(0, 6, 8), 3 * normal(1, 8, 4)
  features[0] = 100 * kernel[:, 2]  # as near to class 2 as can be
  features[1] = -kernel[:, 3]

  def run(scale, features, kernel=kernel):
    variables = {'params': {'kernel': jnp.asarray(kernel)}}
    return np.asarray(CosineHead(4, scale).apply(variables, features))

  logits = run(30.0, features)
  np.testing.assert_allclose(logits, 30 * cosines(features, kernel), rtol=1e-4, atol=1e-4)
  assert np.abs(logits).max() <= 30 * (1 + 1e-5)
  np.testing.assert_allclose([logits[0, 2], logits[1, 3]], [30, -30], rtol=1e-5)
  # neither norm plays a part
  np.testing.assert_allclose(run(30.0, 7 * features), logits, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(run(30.0, features, 0.2 * kernel), logits, rtol=1e-4, atol=1e-4)
  # the scale comes in once
  np.testing.assert_allclose(logits, 30 * run(1.0, features), rtol=1e-5, atol=1e-5)


def test_scale_of_a_built_network_comes_in_once():
  logits = {}
  for scale in (1.0, 30.0):
    net = tiny.built('resnet_cifar', 8, 'cosine', scale, 10)
    head = {'kernel': jnp.asarray(normal(2, 64, 10))}
    variables = {'params': {'head': head}, 'batch_stats': {}}
    logits[scale] = np.asarray(net.head(variables, normal(3, 4, 64), False)[0].logits)
  np.testing.assert_allclose(logits[30.0], 30 * logits[1.0], rtol=1e-5, atol=1e-6)
  assert np.abs(logits[1.0]).max() <= 1


def test_cosine_of_zero_features_is_finite():
  variables = {'params': {'kernel': jnp.asarray(normal(4, 8, 4))}}

  def value(x, v):
    return CosineHead(4).apply(v, x).sum()

  x = jnp.zeros((2, 8))
  np.testing.assert_array_equal(CosineHead(4).apply(variables, x), np.zeros((2, 4)))
  grads = jax.grad(value, (0, 1))(x, variables)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


# the door


def test_only_this_folder_imports_flax():
  root = pathlib.Path(fass_jax.__file__).parent
  users = set()
  for path in root.rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      names = []
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom) and node.level == 0:
        names = [node.module]
      if any(name.split('.')[0] == 'flax' for name in names):
        users.add(path.relative_to(root).parts[0])
  assert users == {'nets'}


# experts and projections


@pytest.mark.parametrize(
  ('how', 'head', 'count'),
  [
    ({'experts': 3}, 'cosine', 783_856),
    ({'experts': 6}, 'cosine', 1_543_888),
    ({'experts': 3, 'reduced': False}, 'cosine', 1_362_064),
    ({'projection': 128}, 'linear', 669_940),
  ],
)
def test_parameter_count_of_other_heads(how, head, count):
  net = tiny.built('resnet_cifar', 32, head, 30.0, 100, **how)
  shapes = jax.eval_shape(lambda key: net.init(key, (32, 32, 3)), jax.random.key(0))
  assert sum(x.size for x in jax.tree.leaves(shapes['params'])) == count


def test_experts_share_the_first_stage_and_differ_after_it():
  net = tiny.built('resnet_cifar', 8, 'cosine', 30.0, 10, experts=3)
  variables = jax.jit(lambda key: net.init(key, (8, 8, 3)))(jax.random.key(0))
  assert sum('stage1' in k for k in variables['params']['body']) == 1
  assert sum('stage2' in k for k in variables['params']['body']) == 3
  run = jax.jit(lambda *args: apply(net, *args, True))
  outs, stats = run(variables, normal(0, 4, 8, 8, 3))
  assert outs.logits.shape == (4, 3, 10) and outs.features.shape == (4, 3, 48)
  assert jax.tree.structure(stats) == jax.tree.structure(variables['batch_stats'])
  assert np.abs(np.asarray(outs.logits[:, 0] - outs.logits[:, 1])).max() > 0.1
  assert np.abs(np.asarray(outs.logits)).max() <= 30.0


def test_embedding_and_prototypes_are_not_normalised_and_reach_the_classifier():
  net = tiny.built('resnet_cifar', 8, 'cosine', 30.0, 10, projection=16)
  variables = jax.jit(lambda key: net.init(key, (8, 8, 3)))(jax.random.key(0))
  x = jnp.asarray(normal(0, 4, 8, 8, 3))
  outs, stats = jax.jit(lambda *args: apply(net, *args, True))(variables, x)
  for vectors in (outs.embedding, outs.extra['prototypes']):
    assert np.ptp(np.square(vectors).sum(-1)) > 0.1
  assert outs.embedding.shape == (4, 16) and outs.extra['prototypes'].shape == (10, 16)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), stats, variables['batch_stats'])
  assert min(jax.tree.leaves(moved['head'])) > 0
  still = jax.jit(lambda *args: apply(net, *args, False))(variables, x)[1]
  jax.tree.map(np.testing.assert_array_equal, still, variables['batch_stats'])

  def first(params):
    return apply(net, variables | {'params': params}, x, True)[0].extra['prototypes'][0, 0]

  gradient = jax.jit(jax.grad(first))(variables['params'])['head']['head']['kernel']
  assert np.abs(np.asarray(gradient)).max() > 0
