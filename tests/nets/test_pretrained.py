"""Files of pretrained weights: every name and shape, both kinds of file, and what is refused."""

import logging
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from fass_jax import nets
from fass_jax.nets import paths, pretrained
from fass_jax.nets.pretrained import read, to_variables
from fass_jax.run import resume, session, start
from fass_jax.types import UserError
from tests import runs

BLOCKS = {10: (1, 1, 1, 1), 50: (3, 4, 6, 3)}


def state_dict(depth, classes, groups=1, width=64):
  """A torchvision state dict, its names and shapes written out from its source; random numbers."""
  rng, found = np.random.default_rng(0), {}

  def put(name, *shape):
    found[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)

  def bn(name, size):
    for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
      put(f'{name}.{leaf}', size)
    found[f'{name}.num_batches_tracked'] = np.array(7)

  put('conv1.weight', 64, 3, 7, 7)
  bn('bn1', 64)
  inside = 64
  for layer, blocks in enumerate(BLOCKS[depth]):
    planes = 64 * 2**layer
    inner = planes if depth < 50 else planes * width // 64 * groups
    outer = planes if depth < 50 else 4 * planes
    for b in range(blocks):
      at = f'layer{layer + 1}.{b}'
      sizes = [(inner, inside, 3), (outer, inner, 3)]
      if depth >= 50:
        sizes = [(inner, inside, 1), (inner, inner // groups, 3), (outer, inner, 1)]
      for i, (out, into, side) in enumerate(sizes):
        put(f'{at}.conv{i + 1}.weight', out, into, side, side)
        bn(f'{at}.bn{i + 1}', out)
      if b == 0 and (layer or inside != outer):
        put(f'{at}.downsample.0.weight', outer, inside, 1, 1)
        bn(f'{at}.downsample.1', outer)
      inside = outer
  put('fc.weight', classes, inside)
  put('fc.bias', classes)
  return found


def transformers_names(weights):
  """The same weights as transformers names them."""
  new = {}
  for name, value in weights.items():
    module, leaf = name.rsplit('.', 1)
    parts = module.split('.')
    if module == 'fc':
      to = 'classifier.1'
    elif len(parts) == 1:
      to = f'resnet.embedder.embedder.{"convolution" if "conv" in module else "normalization"}'
    else:
      stage, block = int(parts[0][-1]) - 1, parts[1]
      if parts[2] == 'downsample':
        kind, inner = ('convolution', 'normalization')[int(parts[3])], 'shortcut'
      else:
        kind = 'convolution' if 'conv' in parts[2] else 'normalization'
        inner = f'layer.{int(parts[2][-1]) - 1}'
      to = f'resnet.encoder.stages.{stage}.layers.{block}.{inner}.{kind}'
    new[f'{to}.{leaf}'] = value
  return new


def blank(backbone, depth, classes, head='linear_torch', **how):
  """Variables of zeros: what is not replaced shows."""
  net = nets.build(backbone, depth, head, 30.0, classes, **how)
  shapes = jax.eval_shape(lambda key: net.init(key, (32, 32, 3)), jax.random.key(0))
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


@pytest.mark.parametrize(
  ('backbone', 'depth', 'shape', 'rename'),
  [
    ('resnet', 10, (), dict),
    ('resnext', 50, (32, 4), dict),
    ('resnet', 50, (), transformers_names),
  ],
)
def test_every_weight_finds_its_place(backbone, depth, shape, rename):
  weights = state_dict(depth, 5, *shape)
  empty = blank(backbone, depth, 5)
  full = to_variables(rename(weights), empty)
  assert jax.tree.structure(full) == jax.tree.structure(empty)
  got = paths.flat(full)
  assert all((x != 0).all() and x.shape == paths.flat(empty)[p].shape for p, x in got.items())
  counted = sum(x.size for n, x in weights.items() if 'num_batches' not in n)
  assert sum(x.size for x in got.values()) == counted
  for ours, theirs in (
    ('params/body/conv1/kernel', 'conv1.weight'),
    ('params/body/layer3_block0/conv2/kernel', 'layer3.0.conv2.weight'),
    ('params/body/layer4_block0/downsample_conv/kernel', 'layer4.0.downsample.0.weight'),
  ):
    np.testing.assert_array_equal(got[ours], np.einsum('oihw->hwio', weights[theirs]))
  for ours, theirs in (
    ('params/body/layer2_block0/bn2/scale', 'layer2.0.bn2.weight'),
    ('params/body/layer2_block0/bn2/bias', 'layer2.0.bn2.bias'),
    ('batch_stats/body/layer2_block0/downsample_bn/mean', 'layer2.0.downsample.1.running_mean'),
    ('batch_stats/body/bn1/var', 'bn1.running_var'),
    ('params/head/linear/kernel', 'fc.weight'),
    ('params/head/linear/bias', 'fc.bias'),
  ):
    np.testing.assert_array_equal(got[ours], weights[theirs].T)


@pytest.mark.parametrize(
  'how', [{'classes': 6}, {'classes': 5, 'head': 'cosine'}, {'classes': 5, 'projection': 4}]
)
def test_another_head_stays_as_it_is_and_says_so(how, caplog):
  caplog.set_level(logging.INFO, 'fass_jax')
  full = to_variables(state_dict(10, 5), blank('resnet', 10, **how))
  assert all((x == 0).all() for x in jax.tree.leaves(full['params']['head']))
  assert all((x != 0).all() for x in jax.tree.leaves(full['params']['body']))
  assert 'the head has its initial values' in caplog.text


def test_what_does_not_fit_is_refused():
  weights, empty = state_dict(10, 5), blank('resnet', 10, 5)
  less = {n: x for n, x in weights.items() if n != 'layer2.0.bn1.running_var'}
  with pytest.raises(UserError, match=r'has no layer2\.0\.bn1\.running_var, which .*net\.depth'):
    to_variables(less, empty)
  with pytest.raises(
    UserError, match=r'has layer9\.0\.conv1\.weight, which this network does not have'
  ):
    to_variables(weights | {'layer9.0.conv1.weight': np.zeros(3)}, empty)
  grey = weights | {'conv1.weight': np.zeros((64, 1, 7, 7))}
  with pytest.raises(
    UserError, match=r'conv1\.weight of shape \(7, 7, 1, 64\), but this network needs \(7, 7, 3'
  ):
    to_variables(grey, empty)
  for backbone, experts in (('resnet_cifar', 1), ('resnet', 3)):
    with pytest.raises(UserError, match='use the backbone resnet or resnext and one expert'):
      pretrained.check(backbone, experts)
  pretrained.check('resnext', 1)


def assert_holds(got, weights, rtol=0, counter=np.int64):
  assert got.keys() == weights.keys()
  for n, x in weights.items():
    assert got[n].dtype == (np.float32 if x.ndim else counter)
    np.testing.assert_allclose(got[n], x, rtol=rtol)


def test_files_of_safetensors_hold_the_same(tmp_path):
  weights = {n: x for n, x in state_dict(10, 5).items() if n.startswith(('bn1', 'fc'))}
  save_file({f'module.{n}': x for n, x in weights.items()}, tmp_path / 'a.safetensors')
  half = {n: x.astype(np.float16) if x.ndim else x for n, x in weights.items()}
  save_file(half, tmp_path / 'half.safetensors')
  for name in ('a.safetensors', 'half.safetensors'):
    assert_holds(read(str(tmp_path / name)), weights, 1e-3 if 'half' in name else 0)


@pytest.mark.parity
def test_files_of_torch_hold_the_same(tmp_path):
  torch = pytest.importorskip('torch', reason='needs the extra parity: pip install -e .[parity]')
  weights = {n: x for n, x in state_dict(10, 5).items() if n.startswith(('bn1', 'fc'))}
  tensors = {f'module.{n}': torch.from_numpy(x) for n, x in weights.items()}
  torch.save(tensors, tmp_path / 'bare.pth')
  torch.save({'epoch': 3, 'model': {'state_dict': tensors}}, tmp_path / 'wrapped.pth')
  for name in ('bare.pth', 'wrapped.pth'):
    assert_holds(read(str(tmp_path / name)), weights, counter=np.float32)
  other = tmp_path / 'other.pth'
  other.write_bytes(b'no weights at all')
  with pytest.raises(UserError, match='other.pth cannot be read'):
    read(str(other))


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
  with pytest.raises(UserError, match='none.pth is not a file'):
    read(str(tmp_path / 'none.pth'))
  broken = tmp_path / 'broken.safetensors'
  broken.write_bytes(b'no weights at all')
  with pytest.raises(UserError, match=r'broken.safetensors cannot be read \(.*\); download it'):
    read(str(broken))
  # an installation without the packages
  monkeypatch.setitem(sys.modules, 'safetensors.numpy', None)
  with pytest.raises(UserError, match=r"safetensors: pip install 'fass-jax\[pretrained\]'"):
    read(str(broken))
  other = tmp_path / 'other.pth'
  other.write_bytes(b'no weights at all')
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(UserError, match='needs PyTorch: pip install torch'):
    read(str(other))


def test_a_run_starts_from_the_file(tmp_path):
  weights = state_dict(10, 10)
  save_file(weights, tmp_path / 'w.safetensors')
  args = (
    '--config=digits_lt.py:ce', '--config.net.backbone=resnet', '--config.net.depth=10',
    f'--config.start.weights={tmp_path / "w.safetensors"}', '--config.start.fresh=("head",)',
  )  # fmt: skip
  s = session.open_session(runs.config_of(*args), tmp_path / 'run', lambda: '')
  with s.manager:
    (seed_run,) = resume.begin(s)
  params, stats = paths.flat(seed_run.state.params), paths.flat(seed_run.state.batch_stats)
  np.testing.assert_array_equal(
    params['body/conv1/kernel'], np.einsum('oihw->hwio', weights['conv1.weight'])
  )
  np.testing.assert_array_equal(stats['body/bn1/var'], weights['bn1.running_var'])
  head = params['head/linear/kernel']
  assert isinstance(head, jax.Array) and np.abs(head - weights['fc.weight'].T).max() > 0.3

  empty = seed_run.state._replace(
    params=jax.tree.map(np.zeros_like, seed_run.state.params),
    batch_stats=jax.tree.map(np.zeros_like, seed_run.state.batch_stats),
  )

  def again(*more):
    return start.from_weights(runs.config_of(*args[:-1], *more), [empty])[0]

  np.testing.assert_array_equal(again().params['head']['linear']['kernel'], weights['fc.weight'].T)
  part = again('--config.start.fresh=("body/layer4_block0",)', '--config.start.statistics=False')
  kept = {p for p, x in paths.flat(part.params).items() if not np.asarray(x).any()}
  assert kept == {p for p in params if p.startswith('body/layer4_block0/')} and kept
  assert not any(np.asarray(x).any() for x in jax.tree.leaves(part.batch_stats))
  with pytest.raises(UserError, match='both set the initial parameters'):
    again('--config.start.run=x')
  with pytest.raises(UserError, match="start.fresh names 'tail'"):
    again('--config.start.fresh=("tail",)')
