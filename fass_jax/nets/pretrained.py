"""Files of pretrained ResNets, with the names that torchvision, timm and transformers give."""

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
WRAPPERS = ('state_dict', 'model')  # what a checkpoint of PyTorch keeps its weights under
HEADS = ('fc.', 'classifier.', 'head.')


def read(path: str) -> dict[str, np.ndarray]:
  """Reads `{name: array}` of a file of weights; nothing but numbers is loaded.

  Args:
    path: a `.safetensors` file, or any that PyTorch saved. The dictionaries `state_dict` and
      `model` around the weights, and `module.` before their names, are taken off.

  Raises:
    UserError: if the file or the package that reads it is not there, or it holds no weights.
  """
  file = pathlib.Path(path).expanduser()
  if not file.is_file():
    raise UserError(f'{KEY}={path} is no file; download the weights and give the path to them.')
  found: Any = _safetensors(file) if file.suffix == '.safetensors' else _torch(file)
  while isinstance(found, Mapping) and any(isinstance(found.get(k), Mapping) for k in WRAPPERS):
    found = next(found[k] for k in WRAPPERS if isinstance(found.get(k), Mapping))
  if not isinstance(found, Mapping) or not all(hasattr(v, 'shape') for v in found.values()):
    raise UserError(
      f'{KEY}={path} is no dictionary of weights; save the state_dict() of the model alone.'
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
  except Exception as error:  # each library has kinds of its own for a broken file
    reason = str(error).strip().split('\n')[0] or type(error).__name__
    raise UserError(f'{KEY}={file} cannot be read ({reason}); download it again.') from error


def _array(value: Any) -> np.ndarray:
  """Returns a tensor or array as NumPy, half precision as float32."""
  value = value.detach().float().numpy() if hasattr(value, 'detach') else np.asarray(value)
  return value.astype(np.float32) if value.dtype.itemsize == 2 else value


# transformers' names, after `resnet.`, to torchvision's; places there begin at 0 and 1
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
  """Returns the name that torchvision and timm have for a weight of transformers; others stay."""
  for pattern, new in _RENAMED:
    name = re.sub(pattern, new, name)
  return name


def _theirs(path: str) -> str:
  """Returns torchvision's name of a leaf of the body."""
  *layers, leaf = path.split('/')
  name = re.sub(r'^(layer\d)_block(\d+)', r'\1.\2', '.'.join(layers))
  name = name.replace('downsample_conv', 'downsample.0').replace('downsample_bn', 'downsample.1')
  return f'{name}.{_LEAVES[leaf]}'


def _turned(value: np.ndarray) -> np.ndarray:
  """Brings OIHW to HWIO, and a matrix to its transpose."""
  return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def check(backbone: str, experts: int) -> None:
  """Refuses networks that no file has the weights of.

  Raises:
    UserError: with the reason.
  """
  if backbone == 'resnet_cifar' or experts > 1:
    raise UserError(
      f'{KEY} has no weights for --config.net.backbone={backbone} with '
      f'--config.net.experts={experts}; take the backbone resnet or resnext and one expert.'
    )


def to_variables(weights: Mapping[str, np.ndarray], variables: PyTree) -> PyTree:
  """Puts the weights of a file in the places of a network's variables.

  Convolutions OIHW become HWIO, the matrix of the head is transposed. The head is taken if it is
  linear here and has as many classes there; otherwise it stays as it is initialised.

  Args:
    weights: by the names of torchvision, timm or transformers, as `read` returns them.
    variables: `{'params': {'body', 'head'}, 'batch_stats': {'body', ...}}` of a ResNet or ResNeXt.

  Raises:
    UserError: for the first weight that is missing, has another shape or is left over.
  """
  there = {_torchvision(name): value for name, value in weights.items()}
  used = set()

  def leaf(path: str, value: Any) -> np.ndarray:
    name = _theirs(path)
    if name not in there:
      raise UserError(
        f'The file of {KEY} has no {name}, which this network needs; give weights of the same '
        '--config.net.backbone and --config.net.depth.'
      )
    used.add(name)
    ours = _turned(there[name])
    if ours.shape != value.shape:
      raise UserError(
        f'The file of {KEY} has {name} of shape {ours.shape}, which is {value.shape} in this '
        'network (axes in its order); give weights of the same --config.net.backbone and '
        '--config.net.depth.'
      )
    return ours.astype(value.dtype)

  params, stats = (
    {**variables[part], 'body': paths.mapped(leaf, variables[part]['body'])}
    for part in ('params', 'batch_stats')
  )
  for name in there:
    if name not in used and not name.endswith('num_batches_tracked') and not name.startswith(HEADS):
      raise UserError(
        f'The file of {KEY} has {name}, for which this network has no place; give weights of the '
        'same --config.net.backbone and --config.net.depth.'
      )
  return {
    **variables,
    'params': {**params, 'head': _head(there, params['head'])},
    'batch_stats': stats,
  }


def _head(there: Mapping[str, np.ndarray], head: PyTree) -> PyTree:
  """Returns the head of the file if it is one of the same shape, else the head as it is."""
  linear = paths.flat(head)
  names = {'linear/kernel': 'fc.weight', 'linear/bias': 'fc.bias'}
  if linear.keys() == names.keys() and all(
    name in there and there[name].T.shape == linear[path].shape for path, name in names.items()
  ):
    return paths.mapped(lambda path, x: _turned(there[names[path]]).astype(x.dtype), head)
  log.info('%s: the backbone is taken, the head is as it is initialised.', KEY)
  return head
