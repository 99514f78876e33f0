"""Loads pretrained ResNets from files with the names of torchvision, timm or transformers."""

from __future__ import annotations

import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fass_jax.nets import paths
from fass_jax.types import PyTree, UserError

log = logging.getLogger('fass_jax')

KEY = '--config.start.weights'
WRAPPERS = ('state_dict', 'model')  # keys of the weights in a PyTorch checkpoint
HEADS = ('fc.', 'classifier.', 'head.')


def read(path: str) -> dict[str, np.ndarray]:
  """Reads `{name: array}` from a file of weights, without running code from the file.

  Args:
    path: a `.safetensors` file, or a file saved by PyTorch. Enclosing dictionaries `state_dict` and
      `model`, and a prefix `module.` of the names, are removed.

  Raises:
    UserError: if the file or the package to read it is missing, or the file has no weights.
  """
  file = pathlib.Path(path).expanduser()
  if not file.is_file():
    raise UserError(
      f'{KEY}={path} is not a file; download the weights and give the path of the file.'
    )
  found: Any = _safetensors(file) if file.suffix == '.safetensors' else _torch(file)
  while isinstance(found, Mapping) and any(isinstance(found.get(k), Mapping) for k in WRAPPERS):
    found = next(found[k] for k in WRAPPERS if isinstance(found.get(k), Mapping))
  if not isinstance(found, Mapping) or not all(hasattr(v, 'shape') for v in found.values()):
    raise UserError(
      f'{KEY}={path} is not a dictionary of weights; save only the state_dict() of the model.'
    )
  return {str(k).removeprefix('module.'): _array(v) for k, v in found.items()}


def _safetensors(file: pathlib.Path) -> Any:
  try:
    from safetensors.numpy import load_file
  except ImportError as error:
    raise UserError(
      f"{KEY}={file} needs the package safetensors: pip install 'fass-jax[pretrained]'."
    ) from error
  return _loaded(load_file, file)


def _torch(file: pathlib.Path) -> Any:
  try:
    import torch
  except ImportError as error:
    raise UserError(
      f'{KEY}={file} needs PyTorch: pip install torch, or give the .safetensors file of the same '
      'weights.'
    ) from error
  return _loaded(lambda f: torch.load(f, map_location='cpu', weights_only=True), file)


def _loaded(load: Any, file: pathlib.Path) -> Any:
  try:
    return load(file)
  except Exception as error:  # each library has its own exception types for a broken file
    reason = str(error).strip().split('\n')[0] or type(error).__name__
    raise UserError(f'{KEY}={file} cannot be read ({reason}); download it again.') from error


def _array(value: Any) -> np.ndarray:
  """Returns a tensor or array as a NumPy array, with 16-bit floats converted to float32."""
  value = value.detach().float().numpy() if hasattr(value, 'detach') else np.asarray(value)
  return value.astype(np.float32) if value.dtype.itemsize == 2 else value


# transformers' names, without `resnet.`, to torchvision's; transformers counts layers from 0
_RENAMED = (
  (r'^(?:resnet\.)?embedder\.embedder\.', lambda m: 'STEM.'),
  (
    r'^(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.',
    lambda m: f'layer{int(m[1]) + 1}.{m[2]}.',
  ),
  (r'\blayer\.(\d+)\.convolution\.', lambda m: f'conv{int(m[1]) + 1}.'),
  (r'\blayer\.(\d+)\.normalization\.', lambda m: f'bn{int(m[1]) + 1}.'),
  (r'\bshortcut\.convolution\.', lambda m: 'downsample.0.'),
  (r'\bshortcut\.normalization\.', lambda m: 'downsample.1.'),
  (r'^STEM\.convolution\.', lambda m: 'conv1.'),
  (r'^STEM\.normalization\.', lambda m: 'bn1.'),
  (r'^classifier\.1\.', lambda m: 'fc.'),
)
_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
}


def _torchvision(name: str) -> str:
  """Returns torchvision's (and timm's) name for a weight of transformers; keeps other names."""
  for pattern, new in _RENAMED:
    name = re.sub(pattern, new, name)
  return name


def _theirs(path: str) -> str:
  """Returns torchvision's name for a leaf of the backbone."""
  *layers, leaf = path.split('/')
  name = re.sub(r'^(layer\d)_block(\d+)', r'\1.\2', '.'.join(layers))
  name = name.replace('downsample_conv', 'downsample.0').replace('downsample_bn', 'downsample.1')
  return f'{name}.{_LEAVES[leaf]}'


def _turned(value: np.ndarray) -> np.ndarray:
  """Transposes a kernel from OIHW to HWIO, and a matrix."""
  return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def check(backbone: str, experts: int) -> None:
  """Checks that pretrained weights can exist for a network.

  Raises:
    UserError: if they cannot.
  """
  if backbone == 'resnet_cifar' or experts > 1:
    raise UserError(
      f'{KEY} is not possible for --config.net.backbone={backbone} with '
      f'--config.net.experts={experts}; use the backbone resnet or resnext and one expert.'
    )


def to_variables(weights: Mapping[str, np.ndarray], variables: PyTree) -> PyTree:
  """Replaces a network's variables by the weights of a file.

  Convolution kernels are transposed from OIHW to HWIO, and so is the matrix of the head. The head's
  weights are loaded if the network's head is linear and has as many classes; otherwise the initial
  head is used.

  Args:
    weights: `{name: array}` from `read`, with the names of torchvision, timm or transformers.
    variables: `{'params': {'body', 'head'}, 'batch_stats': {'body', ...}}` of a ResNet or ResNeXt.

  Raises:
    UserError: if a weight is missing, has another shape or is unknown to the network.
  """
  there = {_torchvision(name): value for name, value in weights.items()}
  used = set()

  def leaf(path: str, value: Any) -> np.ndarray:
    name = _theirs(path)
    if name not in there:
      raise UserError(
        f'The file of {KEY} has no {name}, which this network needs; give weights for the same '
        '--config.net.backbone and --config.net.depth.'
      )
    used.add(name)
    ours = _turned(there[name])
    if ours.shape != value.shape:
      raise UserError(
        f'The file of {KEY} has {name} of shape {ours.shape}, but this network needs '
        f'{value.shape} (axes in the order of JAX); give weights for the same '
        '--config.net.backbone and --config.net.depth.'
      )
    return ours.astype(value.dtype)

  params, stats = (
    {**variables[part], 'body': paths.mapped(leaf, variables[part]['body'])}
    for part in ('params', 'batch_stats')
  )
  for name in there:
    if name not in used and not name.endswith('num_batches_tracked') and not name.startswith(HEADS):
      raise UserError(
        f'The file of {KEY} has {name}, which this network does not have; give weights for the '
        'same --config.net.backbone and --config.net.depth.'
      )
  return {
    **variables,
    'params': {**params, 'head': _head(there, params['head'])},
    'batch_stats': stats,
  }


def _head(there: Mapping[str, np.ndarray], head: PyTree) -> PyTree:
  """Returns the file's head if it has the same shape, else the initial head."""
  linear = paths.flat(head)
  names = {'linear/kernel': 'fc.weight', 'linear/bias': 'fc.bias'}
  if linear.keys() == names.keys() and all(
    name in there and there[name].T.shape == linear[path].shape for path, name in names.items()
  ):
    return paths.mapped(lambda path, x: _turned(there[names[path]]).astype(x.dtype), head)
  log.info('%s: loaded the backbone only; the head has its initial values.', KEY)
  return head
