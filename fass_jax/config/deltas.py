"""Configs: the keys that exist, methods as deltas over them, and errors in one sentence."""

from __future__ import annotations

import functools
import pathlib
import runpy
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from fass_jax.config.key import defaults
from fass_jax.config.keys import DEFAULTS, FREE, KEYS
from fass_jax.config.lookup import did_you_mean
from fass_jax.config.nested import flatten, has, nest, put
from fass_jax.config.renamed import instead, losses_of, renew_config, without_unread
from fass_jax.types import UserError


class Method(NamedTuple):
  """A method: what it sets, and where it comes from."""

  delta: dict[str, Any]  # {dotted config key: value}
  title: str  # one line
  reference: str  # authors, title, venue, arXiv id
  fills: str  # the slots that it fills
  needs_run: bool = False  # goes on from the work directory of another run
  tasks: tuple[str, ...] = ('classification',)  # what a run with it can predict


PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def base_config(name: str) -> ConfigDict:
  """Returns the config of plain training (CE) with every key that a run reads.

  Args:
    name: name of the config, part of the work directory's name.
  """
  config = nest(defaults(KEYS))
  config['name'] = config['data']['kind'] = name
  for section, entry in DEFAULTS.items():
    config[section] = {} if section == 'signals' else {'natural': dict(entry)}
  return ConfigDict(config | {'stages': {}})


def image_config(name: str) -> ConfigDict:
  """Returns what sets of image files share: ResNet-50 at 224 pixels as torchvision trains it."""
  config = base_config(name)
  config.net.update(backbone='resnet', depth=50, head='linear_torch')
  config.data.image_size = 224
  config.data.augment = ('resized_crop', 'flip', 'jitter')
  # of ImageNet; pretrained weights expect them
  config.data.mean, config.data.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  config.loss_args.ride.update(
    diversity=-0.2, diversity_factor=0.02
  )  # RIDE's authors, on ImageNet-LT
  config.eval.update(batch_size=256, shots='auto')
  return config


def of_numbers(config: ConfigDict) -> ConfigDict:
  """Returns a config whose labels are numbers: the absolute error is the loss of a plain run."""
  config.task, config.loss = 'regression', 'l1'
  config.imb_factor = 1.0  # the data decide
  config.eval.shots = 'auto'
  return config


def number_config(name: str) -> ConfigDict:
  """Returns what tables of numbers to predict share: an MLP, 60 epochs, a split of 60/20/20."""
  config = of_numbers(base_config(name))
  config.epochs = 60
  config.batch_size = 64
  config.net.backbone = 'mlp'
  config.data.augment = ()
  config.data.statistics = 'own'
  config.data.held_out = 0.25  # of the four fifths that are not for testing
  config.optim.lr = 0.02
  config.optim.curve = 'cosine'
  return config


def config_dir() -> pathlib.Path:
  """Returns the folder of the shipped configs: beside the package, or inside an installed one."""
  beside = PACKAGE.parent / 'configs'
  return beside if (beside / 'methods').is_dir() else PACKAGE / 'configs'


@functools.cache
def families() -> dict[str, dict[str, Method]]:
  """Returns the methods by family, `{title: {name: Method}}`, read from `configs/methods/*.py`.

  Raises:
    UserError: for a name that two files have.
  """
  found: dict[str, dict[str, Method]] = {}
  homes: dict[str, str] = {}
  for path in sorted((config_dir() / 'methods').glob('*.py')):
    made = runpy.run_path(str(path))
    for name, method in made['METHODS'].items():
      if name in homes:
        raise UserError(
          f"The method '{name}' is in {homes[name]} and in {path.name}; rename one of them."
        )
      homes[name] = path.name
      found.setdefault(made['FAMILY'], {})[name] = method
  return found


def method_rows() -> dict[str, Method]:
  """Returns all methods, `{name: Method}`."""
  return {name: row for family in families().values() for name, row in family.items()}


def methods() -> dict[str, dict[str, Any]]:
  """Returns the deltas of all methods, `{name: {dotted key: value}}`."""
  return {name: row.delta for name, row in method_rows().items()}


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
    otherwise: what a method sets otherwise on this data set, `{name: {dotted key: value}}`; None
      is for a key that it does not set here.
  """
  names = names or 'ce'
  # before the deltas are merged, so that two methods clash by what they set here
  here = {name: {**delta, **(otherwise or {}).get(name, {})} for name, delta in methods().items()}
  here = {n: {k: v for k, v in delta.items() if v is not None} for n, delta in here.items()}
  set_keys(config, merge_deltas(names, here))
  config.method = '+'.join(sorted({n.strip() for n in names.split('+')}))
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
      known = flatten(config)
      other = instead(key, losses_of(known)) or did_you_mean(key, known)
      raise UserError(f"There is no config key '{where}{key}'{other}")
    config.update_from_flattened_dict({key: value})


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """Names the keys that make two configs different runs: `['seed (0 -> 1)', ...]`.

  A key that `old` lacks, because it is older than the key, counts as the default of `keys.py`. The
  parameters of a loss that neither run uses do not count.
  """
  old = renew_config(old)
  a, b, then = flatten(old), flatten(new), flatten(base_config(''))
  for section, entry in DEFAULTS.items():
    for name in old.get(section, {}):
      then |= flatten(entry, f'{section}.{name}.')
  used = losses_of(a) | losses_of(b)
  a, b, then = (without_unread(flat, used) for flat in (a, b, then | a))
  keys = [k for k in sorted(then.keys() | b.keys()) if not k.startswith(FREE)]
  other = [k for k in keys if then.get(k) != b.get(k)]
  return [f'{k} ({a.get(k, "unset")} -> {b.get(k, "unset")})' for k in other]
