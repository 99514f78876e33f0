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
  'beta': 0.0,  # of the effective number; 0 is (N - 1) / N (Eq. 2)
  'rho': 1.0,  # share of the batch that is drawn and mixed
  'gate': 'first',  # rho as: 'first' ceil(rho B) samples | 'bernoulli' a sample | 'coin' a batch
  'start': 'on',  # 'skip': off in the first epoch; 'on': until S is known, random partners, lam .5
  # 'score' | 'random' | 'class_uniform' | 'permutation', see data/partners.py
  'partner': 'none',
  'lam': 'score',  # 'score' | 'beta' | 'batch_beta' | 'fixed'
  'lambda_min': 0.0,  # lower bound of 'score'
  'lam_alpha': 1.0,  # Beta(alpha, alpha)
  'lam_value': 0.5,  # of 'fixed'
  'chance': ((0, 1.0),),  # a batch is mixed with this probability: ((when, value), ...)
  'shared': True,  # one partner image for all views of the stream | one draw each
}
VIEW = {
  'stream': 'natural',
  'mix': 'none',  # 'mixup' | 'cutmix' | 'cutmix_batch': one box for the batch
  'label': 'single',  # 'single': the own class alone (Eq. 8a) | 'mixed': both, by area
  'augment': (),  # ops instead of the run's, see augment/chain.py
  'draw': 0,  # views of a stream with equal ops and draw see the same pixels
  'group': '',  # views of a group share a pass and its batch statistics; '' is alone
}
TERM = {
  'views': ('natural',),
  'loss': 'host',  # 'host': the run's `loss` | the name of another one
  'weight': 1.0,  # a number or ((when, value), ...)
  'divisor': 'weights',  # 'weights': mean over the samples of the view | 'batch': sum / B
}
SIGNAL = {
  'kind': 'score_matrix',  # | 'levels' (CUDA) | 'op_weights' (DODA)
  'view': 'natural',
  # of 'score_matrix'
  'form': 'matrix',  # 'matrix' C x C | 'vector' of own-class means (ablation)
  'source': 'running',  # 'running' training forwards | 'pass' over the set at the epoch's end
  'decay': 0.0,  # memory of older epochs: an EMA
  # of 'levels' and 'op_weights'
  'chance': 0.5,  # an image is augmented with this probability
  'accept': 0.6,  # of 'levels': share of right probes above which a class rises
  'images': 10,  # of 'levels': images * (s + 1) probes at level s
  'most': 10,  # of 'levels': the highest level
  'start': 0.25,  # of 'op_weights': share of the run before weights change
}
# 'separate': every view its own pass and batch statistics; 'vmapped': the same numbers, views of
# one size in one pass; 'joint': all views in one batch, with its statistics
FORWARD = ('separate', 'vmapped', 'joint')
# how a run is computed, up to rounding not what
ENGINE = {
  'precision': 'tf32',  # 'float32' | 'tf32', on a GPU that has it | 'bfloat16' | 'float64'
  'convolution': 'direct',  # 'direct' | 'patches', see nets/convolution.py
  'chunk': 0,  # steps in one call of a compiled program; 0: 1 on a CPU, else up to 128
  'unroll': 1,  # of these, steps in one turn of its loop
  'processes': 'auto',  # 'auto': several where a launcher started several | 'off' | 'on'
  'together': 'auto',  # several seeds: 'batched' | 'interleaved' | 'auto': the faster
  'cache': 'auto',  # folder of compiled programs | 'auto': the user's cache | 'off'
}
# how a set of image files becomes pixels; arrays (digits, CIFAR) have no use for it
FILES = {
  'root': '',  # of `folder`: a folder `class/*.jpg`, or a list or CSV of paths and labels
  'lists': '',  # of ImageNet-LT and its kin: folder with the lists of the split
  'split': 'test',  # what is evaluated on: 'test' | 'val'
  'val_share': 0.2,  # of `folder`: share of each class that is held out
  'max_broken': 0.01,  # share of the files that may be broken and left out
  'shrink': 0,  # prepared images are scaled to this short side; 0 keeps them as they are
  'store': 'auto',  # 'resident': squares on the device | 'stream' | 'auto': by resident_gb
  'resident_gb': 2.0,  # squares up to this size are kept on the device
  'square': 256,  # side of a resident square
  'crop_area': (0.08, 1.0),  # of a random crop, share of the image
  'centre': 0.875,  # at test time: side of the square in the middle, share of the short side
  'decoder': 'pillow',  # | 'fast': simplejpeg and OpenCV, of the extra `fast`
  'workers': 0,  # threads that decode; 0: one a core
}
# ops that methods add to those of the data set (data.augment), see augment/chain.py
AUGMENT = ('rotation15', 'autoaugment', 'randaugment', 'cuda', 'doda', 'cutout')
NET = {
  'backbone': 'resnet_cifar',
  'depth': 32,
  'head': 'linear',
  'scale': 30.0,
  'experts': 1,  # copies of the last stages and the head
  'reduced': True,  # experts with 3/4 of the channels
  'projection': 0,  # size of the embedding of a contrastive loss
  'router': False,  # says after each expert whether to ask the next, see nets/heads.py
}
# parameters of the losses, each read by those that have it
LOSS_ARGS = {
  'max_margin': 0.5,  # of 'ldam' and 'ride': margin of the rarest class
  'tau': 1.0,  # of 'logit_adjustment'
  'gamma': 1.0,  # of 'focal'
  'diversity': -0.45,  # of 'ride'
  'diversity_factor': 0.05,  # of 'ride': how far the temperature follows the class counts
  'temperature': 0.1,  # of 'balanced_contrastive'
  'distill_temperature': 1.5,  # of 'distillation'
  'router_positive': 100.0,  # of 'router': weight of a sample that a later expert saves
}
# where a fresh run starts from, see earlier.py
START = {
  'run': '',  # work directory of an earlier run: its last parameters; '' initialises all
  'weights': '',  # or a file of a pretrained backbone, see nets/pretrained.py
  'statistics': True,  # and its batch statistics
  'fresh': (),  # parts that are initialised anew all the same: prefixes such as 'head'
}
# weights of the classes in the host loss
REWEIGHT = {
  'kind': 'none',  # 'effective_number' | 'inverse'
  'beta': 0.9999,
  'power': 1.0,  # of 'inverse': n^-power
  'share': ((0, 0.0), (0.8, 1.0)),  # 0: weights of 1; 1: the class weights; deferred by default
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
  'engine.chunk', 'engine.unroll', 'engine.cache', 'engine.processes', 'data.root', 'data.lists',
  'data.workers',
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
        'image_size': 0,  # 0 keeps the stored size
        'augment': ('crop', 'flip'),
        'mean': (0.4914, 0.4822, 0.4465),
        'std': (0.2023, 0.1994, 0.2010),
        'statistics': 'fixed',  # 'fixed': mean and std above | 'own': of the training subset
        **FILES,
      },
      'net': dict(NET),
      'start': dict(START),
      'teacher': {'run': ''},  # work directory of the run whose network teaches this one
      'optim': {
        'lr': 0.1,
        'momentum': 0.9,
        'weight_decay': 2e-4,
        'nesterov': False,
        'warmup_epochs': 5.0,
        'warmup_fraction': 0.025,
        'schedule': ((0, 1.0), (0.8, 0.01), (0.9, 0.0001)),  # factors of lr, of curve 'steps'
        'curve': 'steps',  # | 'cosine': from lr to 0
        'only': (),  # parts that train: prefixes such as 'head/router'; () is all
        'frozen_statistics': 'keep',  # batch statistics of the other parts | 'drift': they follow
      },
      'eval': {'every': 1, 'batch_size': 1000, 'ece_bins': 15, 'many': 100, 'few': 20},
      'engine': dict(ENGINE),
      'checkpoint': {'every_s': 60.0, 'every_steps': 0, 'keep': 2},
      'augment': dict.fromkeys(AUGMENT, False),
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


def pick(table: Mapping[str, Any], name: str, key: str) -> Any:
  """Looks a name up; a wrong one ends in a sentence that names the config key."""
  if name not in table:
    raise UserError(f"There is no '{name}' for --config.{key}{did_you_mean(name, table)}")
  return table[name]


def one_of(name: str, known: Iterable[str], key: str) -> str:
  """Returns the name if it is known, else raises as `pick` does."""
  return pick({k: k for k in known}, name, key)


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
    section, _, rest = key.partition('.')
    name, _, leaf = rest.partition('.')
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
