"""ResNet against transformers' own, with its weights through the file that a user would give."""

import functools

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from fass_jax import nets
from fass_jax.nets.base import apply
from fass_jax.nets.pretrained import read, to_variables
from tests.parity import marks

try:
  import torch
  import transformers
except ImportError:
  transformers = None

pytestmark = marks(transformers is not None)
CLASSES, SIDE, BATCH = 11, 64, 2
BASIC = {'layer_type': 'basic', 'hidden_sizes': [64, 128, 256, 512]}
CONFIGS = {10: {**BASIC, 'depths': [1] * 4}, 18: {**BASIC, 'depths': [2] * 4}, 50: {}}


@functools.cache
def model_of(depth):
  """Random weights; scales, shifts and running statistics that are not 1 and 0."""
  torch.manual_seed(depth)
  config = transformers.ResNetConfig(num_labels=CLASSES, **CONFIGS[depth])
  model = transformers.ResNetForImageClassification(config)
  with torch.no_grad():
    for module in model.modules():
      if isinstance(module, torch.nn.BatchNorm2d):
        for value in (module.weight, module.running_var):
          value.uniform_(0.5, 1.5)
        for value in (module.bias, module.running_mean):
          value.normal_(0, 0.1)
  return model


def images(batch):
  x = np.random.default_rng(0).normal(size=(batch, SIDE, SIDE, 3))
  return (x * (0.7, 1.0, 1.4) + (0.5, 0.0, -1.0)).astype(np.float32)


def ours(depth, folder, state=None):
  """The network and its variables, read from a file of the model's state dict."""
  state = model_of(depth).state_dict() if state is None else state
  save_file({n: x.detach().numpy() for n, x in state.items()}, folder / 'm.safetensors')
  net = nets.build('resnet', depth, 'linear_torch', 30.0, CLASSES, precision='float32')
  shapes = jax.eval_shape(lambda key: net.init(key, (SIDE, SIDE, 3)), jax.random.key(0))
  return net, to_variables(read(str(folder / 'm.safetensors')), shapes)


def theirs(model, x):
  return model(pixel_values=torch.from_numpy(x).permute(0, 3, 1, 2)).logits


def assert_close(got, want, share, name=''):
  """Differences as a share of the largest value."""
  off = np.abs(np.asarray(got, float) - np.asarray(want, float)).max()
  assert off <= share * np.abs(np.asarray(want)).max(), (name, off)


@pytest.mark.parametrize('depth', [18, 50])
def test_logits_are_those_of_transformers(depth, tmp_path):
  net, variables = ours(depth, tmp_path)
  x = images(BATCH)
  out, _ = jax.jit(lambda v, x: apply(net, v, x, False))(variables, x)
  with torch.no_grad():
    want = theirs(model_of(depth).eval(), x).numpy()
  assert want.std(0).max() > 1e-3  # the images are told apart
  assert_close(out.logits[:, 0], want, 1e-4)


def test_gradients_and_running_statistics_of_a_training_step(tmp_path):
  net, variables = ours(10, tmp_path)
  x = images(4)
  labels = np.arange(4)

  def loss(params):
    out, stats = apply(net, {**variables, 'params': params}, x, True)
    return -jax.nn.log_softmax(out.logits[:, 0])[labels, labels].mean(), stats

  (value, stats), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables['params'])
  model = model_of(10).train()
  want = torch.nn.functional.cross_entropy(theirs(model, x), torch.from_numpy(labels))
  want.backward()
  np.testing.assert_allclose(value, want.item(), rtol=1e-4)
  # gradients and statistics go the same way from their names to ours as weights do
  found = {n: p.grad for n, p in model.named_parameters()}
  buffers = {n: b for n, b in model.named_buffers() if 'num_batches' not in n}
  _, tree = ours(10, tmp_path, found | buffers)
  for kind, got in (('params', grads), ('batch_stats', stats)):
    leaves = jax.tree_util.tree_leaves_with_path(got)
    for (path, ours_), theirs_ in zip(leaves, jax.tree.leaves(tree[kind]), strict=True):
      assert_close(ours_, theirs_, 1e-3, jax.tree_util.keystr(path))
