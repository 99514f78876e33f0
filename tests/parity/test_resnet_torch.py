"""The network, the optimiser and the weighted mean against PyTorch, with copied weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import nets
from fass_jax.losses.combine import weighted_mean
from fass_jax.nets.base import apply
from fass_jax.recipe import optimiser
from fass_jax.types import Time
from tests.parity import marks

try:
  import torch

  from launch.benchmarks import torch_baseline as baseline
except ImportError:
  torch = None

pytestmark = marks(torch is not None)

DEPTH, CLASSES, BATCH = 14, 10, 16  # two blocks a stage: with a stride, and without


@pytest.fixture(scope='module')
def images():
  # a mean and a spread of its own for each channel, so that statistics are not 0 and 1 by chance
  x = np.random.default_rng(0).normal(size=(BATCH, 32, 32, 3))
  return (x * (0.7, 1.0, 1.4) + (0.5, 0.0, -1.0)).astype(np.float32)


@pytest.fixture(scope='module')
def net():
  return nets.build('resnet_cifar', DEPTH, 'linear', 30.0, CLASSES)


@pytest.fixture(scope='module')
def variables(net):
  """Random weights, with scales, shifts and running statistics that are not 1 and 0."""
  tree = jax.tree.map(np.asarray, net.init(jax.random.key(0), (32, 32, 3)))
  rng = np.random.default_rng(1)

  def stir(path, leaf):
    if path[-1].key in ('scale', 'var'):
      return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    if path[-1].key in ('bias', 'mean'):
      return rng.normal(0, 0.1, leaf.shape).astype(np.float32)
    return leaf

  return jax.tree_util.tree_map_with_path(stir, tree)


@pytest.fixture
def model(variables):
  module = baseline.ResNetCifar(DEPTH, CLASSES)
  baseline.load_variables(module, variables)
  return module


def torch_forward(model, images, train):
  with torch.no_grad():
    return model.train(train)(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()


def assert_trees_close(a, b, **tolerance):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
    np.testing.assert_allclose(x, y, err_msg=jax.tree_util.keystr(path), **tolerance)


@pytest.mark.parametrize('classes, count', [(10, 464_154), (100, 470_004)])
def test_both_networks_have_the_published_number_of_parameters(classes, count):
  net = nets.build('resnet_cifar', 32, 'linear', 30.0, classes)
  params = jax.eval_shape(lambda k: net.init(k, (32, 32, 3)), jax.random.key(0))['params']
  module = baseline.ResNetCifar(32, classes)
  assert sum(x.size for x in jax.tree.leaves(params)) == count
  assert sum(p.numel() for p in module.parameters()) == count


def test_copying_there_and_back_changes_nothing(model, variables):
  assert_trees_close(baseline.to_flax(model), variables, rtol=0, atol=0)


def test_copying_into_another_depth_names_what_differs(variables):
  with pytest.raises(KeyError, match='stage1_block1'):
    baseline.load_variables(baseline.ResNetCifar(8, CLASSES), variables)


def test_eval_forward_matches(net, model, variables, images):
  out, stats = jax.jit(lambda v, x: apply(net, v, x, False))(variables, images)
  np.testing.assert_allclose(
    out.logits[:, 0], torch_forward(model, images, False), rtol=1e-4, atol=1e-4
  )
  assert_trees_close(stats, variables['batch_stats'], rtol=0, atol=0)


def test_train_forward_and_running_statistics_match(net, model, variables, images):
  out, stats = jax.jit(lambda v, x: apply(net, v, x, True))(variables, images)
  np.testing.assert_allclose(
    out.logits[:, 0], torch_forward(model, images, True), rtol=1e-4, atol=1e-4
  )
  theirs = baseline.to_flax(model)['batch_stats']
  assert_trees_close(stats, theirs, rtol=1e-4, atol=1e-5)


def test_the_running_variance_is_the_unbiased_one():
  # 4 x 4 pixels of one image: n = 16, where n / (n - 1) is 6.7 %
  x = np.random.default_rng(2).normal(size=(1, 32, 32, 3)).astype(np.float32)[:, ::8, ::8]
  net = nets.build('resnet_cifar', 8, 'linear', 30.0, CLASSES)
  variables = net.init(jax.random.key(0), (4, 4, 3))
  _, stats = net.embed(variables, x, True)
  module = baseline.ResNetCifar(8, CLASSES)
  baseline.load_variables(module, jax.tree.map(np.asarray, variables))
  # the last stage has one pixel, of which torch takes no statistics: the first layer is enough
  with torch.no_grad():
    module.train().bn1(module.conv1(torch.from_numpy(x).permute(0, 3, 1, 2)))
  ours = stats['body']['bn1']['var']
  np.testing.assert_allclose(ours, module.bn1.running_var.numpy(), rtol=1e-5)
  n = 16
  biased = 0.9 + (np.asarray(ours) - 0.9) * (n - 1) / n
  assert not np.allclose(ours, biased, rtol=1e-3)


def test_initial_weights_have_the_same_spread():
  net = nets.build('resnet_cifar', DEPTH, 'linear', 30.0, 100)
  ours = net.init(jax.random.key(3), (32, 32, 3))['params']
  torch.manual_seed(3)
  theirs = baseline.to_flax(baseline.ResNetCifar(DEPTH, 100))['params']
  kernel = ('body', 'stage3_block1', 'conv1', 'kernel')
  for path in (kernel, ('head', 'linear', 'kernel'), ('head', 'linear', 'bias')):
    a, b = ours, theirs
    for part in path:
      a, b = a[part], b[part]
    tolerance = 4 / np.sqrt(2 * a.size)  # four standard errors of a ratio of spreads
    np.testing.assert_allclose(np.std(a) / np.std(b), 1, atol=1.5 * tolerance)


def linear_problem():
  rng = np.random.default_rng(4)
  x, y = rng.normal(size=(32, 6)), rng.integers(0, 4, 32)
  return x, y, {'w': rng.normal(size=(6, 4)), 'b': rng.normal(size=4)}


@pytest.mark.parametrize('nesterov', [False, True])
def test_ten_steps_of_sgd_follow_torch_in_double_precision(nesterov):
  # the layers keep float32, so a linear model stands for the network; the decay is large enough
  # to show, and the rate changes from step to step, where its place beside the momentum shows
  x, y, start = linear_problem()
  decay, epochs = 0.05, 10
  pairs = ((0, 1.0), (0.5, 0.3), (0.8, 0.01))
  rate = optimiser.learning_rate(0.1, pairs, 5.0, 0.4, epochs)
  w, b = (torch.tensor(start[k], requires_grad=True) for k in 'wb')
  opponent = torch.optim.SGD([w, b], 0.1, 0.9, weight_decay=decay, nesterov=nesterov)
  with jax.enable_x64(True):
    params = jax.tree.map(jnp.asarray, start)
    sgd = optimiser.sgd(0.9, decay, nesterov)
    state = sgd.init(params)

    def loss(p):
      return -jax.nn.log_softmax(x @ p['w'] + p['b'][None])[jnp.arange(len(y)), y].mean()

    for i in range(epochs):
      t = Time(jnp.asarray(i), jnp.asarray(i), jnp.asarray(i / epochs))
      lr = rate(t)
      updates, state = sgd.update(jax.grad(loss)(params), state, params)
      params = jax.tree.map(lambda v, u, lr=lr: v - lr * u, params, updates)
      opponent.param_groups[0]['lr'] = float(lr)
      opponent.zero_grad()
      logits = torch.from_numpy(x) @ w + b
      torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).backward()
      opponent.step()
      assert params['w'].dtype == jnp.float64
      np.testing.assert_allclose(params['w'], w.detach().numpy(), rtol=0, atol=1e-10)
      np.testing.assert_allclose(params['b'], b.detach().numpy(), rtol=0, atol=1e-10)
  assert np.abs(np.asarray(params['w']) - start['w']).max() > 0.01


def test_one_whole_step_of_the_network_follows_torch(net, model, variables, images):
  labels = np.arange(BATCH) % CLASSES
  sgd = optimiser.sgd(0.9, 2e-4, False)

  @jax.jit
  def ours(params, stats):
    def loss(p):
      out, _ = apply(net, {'params': p, 'batch_stats': stats}, images, True)
      return -jax.nn.log_softmax(out.logits[:, 0])[jnp.arange(BATCH), labels].mean()

    value, grads = jax.value_and_grad(loss)(params)
    updates, _ = sgd.update(grads, sgd.init(params), params)
    return value, jax.tree.map(lambda v, u: v - 0.1 * u, params, updates)

  value, params = ours(variables['params'], variables['batch_stats'])
  opponent = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=2e-4)
  z = model.train()(torch.from_numpy(images).permute(0, 3, 1, 2))
  loss = torch.nn.functional.cross_entropy(z, torch.from_numpy(labels))
  loss.backward()
  opponent.step()
  np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
  assert_trees_close(params, baseline.to_flax(model)['params'], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize('seed', [0, 1])
def test_the_weighted_mean_is_that_of_torchs_cross_entropy(seed):
  rng = np.random.default_rng(seed)
  logits = rng.normal(0, 3, (24, 7)).astype(np.float32)
  labels = rng.integers(0, 7, 24)
  weight = rng.uniform(0.1, 5, 7).astype(np.float32)
  theirs = torch.nn.functional.cross_entropy(
    torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(weight)
  )
  values = -jax.nn.log_softmax(logits)[np.arange(24), labels]
  np.testing.assert_allclose(weighted_mean(values, weight[labels]), theirs.item(), rtol=1e-5)
