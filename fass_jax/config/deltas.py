"""Configs: the keys that exist, methods as deltas over them, and errors in one sentence."""

from __future__ import annotations

import functools
import json
import pathlib
import runpy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from fass_jax.config.keys import (
  AUGMENT,
  CLASSIFIER,
  DEFAULTS,
  ENGINE,
  EVAL,
  FILES,
  FREE,
  LOSS_ARGS,
  NET,
  OPTIM,
  REWEIGHT,
  START,
  STREAM,
  TERM,
  VIEW,
)
from fass_jax.config.lookup import did_you_mean
from fass_jax.types import UserError

PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def base_config(name: str) -> ConfigDict:
  """Returns the config of plain training (CE) with every key that a run reads.

  Args:
    name: name of the config, part of the work directory's name.
  """
  return ConfigDict(
    {
      'name': name,
      'method': 'ce',
      'seed': 0,
      'seeds': 1,  # so many runs in one process: seed, seed + 1, ...
      'epochs': 200,
      'batch_size': 128,
      'imb_factor': 100.0,
      'loss': 'ce',
      # what the figures at the end are of: 'trained', the network as it is, or a classifier that
      # is fitted on the trained network, see classifiers/
      'classifier': 'trained',
      'classifier_args': dict(CLASSIFIER),
      'loss_args': dict(LOSS_ARGS),
      'reweight': dict(REWEIGHT),
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
        # share of each class that is not trained on: what has to be chosen without the test set
        # is chosen there; a class keeps at least one image. The run's counts are those of the rest
        'held_out': 0.0,
        'image_size': 0,  # 0 keeps the stored size
        'augment': ('crop', 'flip'),
        'mean': (0.4914, 0.4822, 0.4465),
        'std': (0.2023, 0.1994, 0.2010),
        'statistics': 'fixed',  # mean and std above | 'own': of the training subset
        **FILES,
      },
      'net': dict(NET),
      'start': dict(START),
      # work directory of the run whose network teaches this one; 'previous': the stage before
      'teacher': {'run': ''},
      'optim': dict(OPTIM),
      'eval': dict(EVAL),
      'engine': dict(ENGINE),
      'checkpoint': {'every_s': 60.0, 'every_steps': 0, 'keep': 2},
      'augment': dict.fromkeys(AUGMENT, False),
      'streams': {'natural': dict(STREAM)},
      'views': {'natural': dict(VIEW)},
      'terms': {'natural': dict(TERM)},
      'signals': {},
      'stages': {},  # what follows, see stages.py
      # two corrections of the class prior at once, such as a loss and a sampler: refused otherwise
      'stacked_priors': False,
    }
  )


def image_config(name: str) -> ConfigDict:
  """Returns what sets of image files share: ResNet-50 at 224 pixels as torchvision trains it."""
  config = base_config(name)
  config.net.update(backbone='resnet', depth=50, head='linear_torch')
  config.data.image_size = 224
  config.data.augment = ('resized_crop', 'flip', 'jitter')
  # of ImageNet; pretrained weights expect them
  config.data.mean, config.data.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  config.loss_args.update(diversity=-0.2, diversity_factor=0.02)  # RIDE's authors, on ImageNet-LT
  config.eval.update(batch_size=256, shots='auto')
  return config


def config_dir() -> pathlib.Path:
  """Returns the folder of the shipped configs: beside the package, or inside an installed one."""
  beside = PACKAGE.parent / 'configs'
  return beside if (beside / 'methods.py').exists() else PACKAGE / 'configs'


@functools.cache
def methods() -> dict[str, dict[str, Any]]:
  """Returns the table of methods, `METHODS` of `configs/methods.py`."""
  return runpy.run_path(str(config_dir() / 'methods.py'))['METHODS']


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
    if not name:
      raise UserError(f"A method is missing beside the '+' of '{names}'.")
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


def with_methods(
  config: ConfigDict, names: str, otherwise: Mapping[str, Mapping[str, Any]] | None = None
) -> ConfigDict:
  """Applies the methods of a method string to a base config, in place.

  Args:
    config: from `base_config`, with the data set's own values set.
    names: for example 'fass' or 'fass+ens'.
    otherwise: what a method sets otherwise on this data set, `{name: {dotted key: value}}`.
  """
  names = names or 'ce'
  set_keys(config, merge_deltas(names, methods()))
  config.method = '+'.join(sorted({n.strip() for n in names.split('+')}))
  for name in config.method.split('+'):
    config.update_from_flattened_dict((otherwise or {}).get(name, {}))
  return config


def set_keys(config: ConfigDict, delta: Mapping[str, Any], where: str = '') -> None:
  """Sets dotted keys; a stream, view, term or signal that they name comes into being.

  Args:
    config: to be changed, not locked.
    delta: `{dotted key: value}`.
    where: what stands before a key in messages.

  Raises:
    UserError: for a key that there is not.
  """
  for key, value in sorted(delta.items()):
    section, _, rest = key.partition('.')
    name, _, leaf = rest.partition('.')
    # a new entry: all its keys exist, so that all can be overridden
    if section in DEFAULTS and leaf and name not in config[section]:
      config[section][name] = dict(DEFAULTS[section])
    if section == 'stages':
      put(config, key, value)
      continue
    if not has(config, key):
      raise UserError(f"There is no config key '{where}{key}'{did_you_mean(key, flatten(config))}")
    config.update_from_flattened_dict({key: value})


def has(config: ConfigDict, key: str) -> bool:
  """Says whether a config has a dotted key that holds a value."""
  value: Any = config
  for name in key.split('.'):
    if not isinstance(value, ConfigDict) or name not in value:
      return False
    value = value[name]
  return not isinstance(value, ConfigDict)


def put(config: ConfigDict, key: str, value: Any) -> None:
  """Sets a dotted key, with the sections on the way to it if they are not there yet."""
  *sections, leaf = key.split('.')
  for name in sections:
    if name not in config:
      config[name] = ConfigDict()
    config = config[name]
  config[leaf] = value


def flatten(config: Mapping[str, Any], prefix: str = '', tuples: bool = False) -> dict[str, Any]:
  """Returns `{dotted key: value}` with tuples as lists, as JSON keeps them, or as they are."""
  flat: dict[str, Any] = {}
  for key, value in config.items():
    if isinstance(value, Mapping | ConfigDict):
      flat.update(flatten(value, f'{prefix}{key}.', tuples))
    else:
      flat[prefix + key] = value if tuples else json.loads(json.dumps(value))
  return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """Names the keys that make two configs different runs: `['seed (0 -> 1)', ...]`.

  A key that `old` lacks, because it is older than the key, counts as the default of `defaults.py`.
  """
  a, b, then = flatten(old), flatten(new), flatten(base_config(''))
  for section, defaults in DEFAULTS.items():
    for name in old.get(section, {}):
      then |= flatten(defaults, f'{section}.{name}.')
  then |= a
  keys = [k for k in sorted(then.keys() | b.keys()) if not k.startswith(FREE)]
  other = [k for k in keys if then.get(k) != b.get(k)]
  return [f'{k} ({a.get(k, "unset")} -> {b.get(k, "unset")})' for k in other]
