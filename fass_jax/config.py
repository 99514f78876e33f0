"""Configs: the keys that exist, methods as deltas over them, and errors in one sentence."""

from __future__ import annotations

import difflib
import functools
import json
import pathlib
import runpy
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from fass_jax.types import UserError

PACKAGE = pathlib.Path(__file__).resolve().parent

# a stream, view, term or signal that a config or a method adds starts from these
STREAM = {
  'sampler': 'permutation',  # see data/samplers.py
  'rho': 1.0,  # share of the batch that is drawn and mixed
  'gate': 'first',  # rho as: 'first' ceil(rho B) samples | 'bernoulli' a sample | 'coin' a batch
  'start': 'on',  # 'skip': off in the first epoch; 'on': until S is known, random partners, lam .5
  'partner': 'none',  # 'score' | 'random' | 'permutation', see data/partners.py
  'lam': 'score',  # 'score' | 'beta' | 'batch_beta' | 'fixed'
  'lambda_min': 0.0,  # lower bound of 'score'
  'lam_alpha': 1.0,  # Beta(alpha, alpha)
  'lam_value': 0.5,  # of 'fixed'
  'shared': True,  # one partner image for all views of the stream | one draw each
}
VIEW = {
  'stream': 'natural',
  'mix': 'none',  # 'mixup' | 'cutmix'
  'label': 'single',  # 'single': the own class alone (Eq. 8a) | 'mixed': both, by area
}
TERM = {
  'views': ('natural',),
  'loss': 'host',  # 'host': the run's `loss` | the name of another one
  'weight': 1.0,  # a number or ((when, value), ...)
  'divisor': 'weights',  # 'weights': mean over the samples of the view | 'batch': sum / B
}
SIGNAL = {
  'kind': 'score_matrix',
  'view': 'natural',
  'form': 'matrix',  # 'matrix' C x C | 'vector' of own-class means (ablation)
  'source': 'running',  # 'running' training forwards | 'pass' over the set at the epoch's end
  'decay': 0.0,  # memory of older epochs: an EMA
}
# 'separate': every view its own pass and batch statistics; 'vmapped': the same numbers, views of
# one size in one pass; 'joint': all views in one batch, with its statistics
FORWARD = ('separate', 'vmapped', 'joint')
# how a run is computed, up to rounding not what
ENGINE = {
  'precision': 'tf32',  # 'float32' | 'tf32', on a GPU that has it | 'bfloat16'
  'convolution': 'direct',  # 'direct' | 'patches', see nets/convolution.py
  'chunk': 0,  # steps in one call of a compiled program; 0: 1 on a CPU, else up to 128
  'unroll': 1,  # of these, steps in one turn of its loop
  'together': 'auto',  # several seeds: 'batched' | 'interleaved' | 'auto': the faster
  'cache': 'auto',  # folder of compiled programs | 'auto': the user's cache | 'off'
}
DEFAULTS: dict[str, dict[str, Any]] = {
  'streams': STREAM,
  'views': VIEW,
  'terms': TERM,
  'signals': SIGNAL,
}

# keys that may differ between two runs of one work directory
FREE = (
  'checkpoint.', 'data.dir', 'data.cache', 'data.url', 'data.sha256', 'eval.batch_size',
  'engine.chunk', 'engine.unroll', 'engine.cache',
)  # fmt: skip


def base_config(name: str) -> ConfigDict:
  """Returns the config of plain training (CE) with every key that a run reads.

  Args:
    name: name of the config, part of the work directory's name.
  """
  config = ConfigDict(
    {
      'name': name,
      'method': 'ce',
      'seed': 0,
      'seeds': 1,  # so many runs in one process: seed, seed + 1, ...
      'epochs': 200,
      'batch_size': 128,
      'imb_factor': 100.0,
      'loss': 'ce',
      'forward': 'separate',  # 'separate' | 'vmapped' | 'joint', see FORWARD
      'last_batch': 'fill',  # 'fill' from the next permutation, masked out | 'drop'
      'data': {
        'kind': name,
        'dir': '',  # where the original archive or folder lies
        'cache': '',  # where prepared sets are kept; '' is the user's cache folder
        'url': '',  # another place to download from, with its sha256
        'sha256': '',
        'profile': 'exp',  # 'exp' (Eq. 1) | 'step' | 'balanced'
        'subset_seed': 0,
        'image_size': 0,  # 0 keeps the stored size
        'augment': ('crop', 'flip'),
        'mean': (0.4914, 0.4822, 0.4465),
        'std': (0.2023, 0.1994, 0.2010),
        'statistics': 'fixed',  # 'fixed': mean and std above | 'own': of the training subset
      },
      'net': {'backbone': 'resnet_cifar', 'depth': 32, 'head': 'linear', 'scale': 30.0},
      'optim': {
        'lr': 0.1,
        'momentum': 0.9,
        'weight_decay': 2e-4,
        'nesterov': False,
        'warmup_epochs': 5.0,
        'warmup_fraction': 0.025,
        'schedule': ((0, 1.0), (0.8, 0.01), (0.9, 0.0001)),  # factors of lr
      },
      'eval': {'every': 1, 'batch_size': 1000, 'ece_bins': 15, 'many': 100, 'few': 20},
      'engine': dict(ENGINE),
      'checkpoint': {'every_s': 60.0, 'every_steps': 0, 'keep': 2},
      'streams': {'natural': dict(STREAM)},
      'views': {'natural': dict(VIEW)},
      'terms': {'natural': dict(TERM)},
      'signals': {},
    }
  )
  return config


def config_dir() -> pathlib.Path:
  """Returns the folder of the shipped configs: beside the package, or inside an installed one."""
  beside = PACKAGE.parent / 'configs'
  return beside if (beside / 'methods.py').exists() else PACKAGE / 'configs'


@functools.cache
def methods() -> dict[str, dict[str, Any]]:
  """Returns the table of methods, `METHODS` of `configs/methods.py`."""
  return runpy.run_path(str(config_dir() / 'methods.py'))['METHODS']


def did_you_mean(word: str, known: Iterable[str]) -> str:
  """Returns `; did you mean 'x'?` for the nearest known word, or a list of all if none is near."""
  known = sorted(known)
  near = difflib.get_close_matches(word, known, 1, 0.5)
  if not near:
    # a key of another section: the same last part is near enough
    near = [k for k in known if k.split('.')[-1] == word.split('.')[-1]]
  return f"; did you mean '{near[0]}'?" if near else f'; there are {", ".join(known)}.'


def merge_deltas(names: str, table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Joins the deltas of `a+b+c`; the order of the names does not matter.

  Args:
    names: method names joined by '+'.
    table: `{name: {dotted key: value}}`.

  Returns:
    One delta.

  Raises:
    UserError: for an unknown name, or two different values for one key.
  """
  merged: dict[str, Any] = {}
  owner: dict[str, str] = {}
  for name in sorted({n.strip() for n in names.split('+')}):
    if name not in table:
      raise UserError(f"There is no method '{name}'{did_you_mean(name, table)}")
    for key, value in table[name].items():
      if key in merged and merged[key] != value:
        raise UserError(
          f"Methods '{owner[key]}' and '{name}' cannot be combined: they set {key} to "
          f'{merged[key]!r} and {value!r}; drop one of them.'
        )
      merged[key], owner[key] = value, name
  return merged


def with_methods(config: ConfigDict, names: str) -> ConfigDict:
  """Applies the methods of a method string to a base config, in place.

  Args:
    config: from `base_config`, with the data set's own values set.
    names: for example 'fass' or 'fass+ens'.
  """
  names = names or 'ce'
  delta = merge_deltas(names, methods())
  for key, value in sorted(delta.items()):
    section, name, *leaf = key.split('.')
    # a new entry: all its keys exist, so that all can be overridden
    if section in DEFAULTS and leaf and name not in config[section]:
      config[section][name] = dict(DEFAULTS[section])
    config.update_from_flattened_dict({key: value})
  config.method = '+'.join(sorted({n.strip() for n in names.split('+')}))
  return config


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Returns `{dotted key: value}` with tuples as lists, as JSON keeps them."""
  flat: dict[str, Any] = {}
  for key, value in config.items():
    if isinstance(value, Mapping | ConfigDict):
      flat.update(flatten(value, f'{prefix}{key}.'))
    else:
      flat[prefix + key] = json.loads(json.dumps(value))
  return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """Names the keys that make two configs different runs: `['seed (0 -> 1)', ...]`."""
  a, b = flatten(old), flatten(new)
  keys = [k for k in sorted(a.keys() | b.keys()) if not k.startswith(FREE)]
  return [f'{k} ({a.get(k, "unset")} -> {b.get(k, "unset")})' for k in keys if a.get(k) != b.get(k)]
