"""From a config to filled slots: the one place where names become functions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax
from ml_collections import ConfigDict

from fass_jax import mixing, nets
from fass_jax.augment import chain
from fass_jax.augment.cam import ActivationMap
from fass_jax.config.deltas import flatten
from fass_jax.config.keys import FORWARD
from fass_jax.config.lookup import one_of, pick
from fass_jax.nets import paths
from fass_jax.nets.named import network
from fass_jax.recipe import images as shown
from fass_jax.recipe import optimiser
from fass_jax.recipe import terms as objective
from fass_jax.recipe.streams import build as build_stream
from fass_jax.signals import SIGNALS
from fass_jax.types import (
  ALONE,
  Array,
  Dataset,
  Placement,
  Signal,
  Stream,
  Term,
  Time,
  UserError,
  View,
)

log = logging.getLogger('fass_jax')

MIXES: dict[str, Callable[..., tuple[Array, Array]]] = {
  'mixup': mixing.mixup,
  'cutmix': mixing.cutmix,
  'cutmix_batch': mixing.cutmix_batch,
  'manifold': mixing.mixup,
}
DEEP = ('manifold',)  # mixes of the features
LABELS = {'single': mixing.single_label, 'mixed': mixing.mixed_label}


# what numbers have to be, beyond those that a piece checks itself
NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
  **dict.fromkeys(
    ('eval.every', 'eval.batch_size', 'eval.ece_bins', 'checkpoint.keep'),
    (lambda x: x >= 1, 'at least 1'),
  ),
  **dict.fromkeys(
    (
      'optim.lr',
      'optim.weight_decay',
      'optim.warmup_epochs',
      'optim.warmup_fraction',
      'loss_args.logit_adjustment.tau',
      'loss_args.ldam.max_margin',
      'loss_args.ride.max_margin',
      'loss_args.focal.gamma',
      'loss_args.cdt.gamma',
    ),
    (lambda x: x >= 0, 'at least 0'),
  ),
  'optim.momentum': (lambda x: 0 <= x < 1, 'in [0, 1)'),
  'net.scale': (lambda x: x > 0, 'above 0'),
}


class Recipe(NamedTuple):
  """A run as functions and static numbers; the train step is compiled from it."""

  num_classes: int
  batch_size: int
  steps_per_epoch: int
  epochs: int
  net: nets.Network
  optimizer: optax.GradientTransformation
  learning_rate: Callable[[Time], Array]
  normalise: shown.Normaliser  # uint8 [B, H, W, 3] -> float32
  show: Callable[..., Array]  # (stored images, aspect of squares or None) -> images, in evaluation
  streams: dict[str, Stream]
  views: dict[str, View]  # in the order in which their batch statistics are folded
  terms: dict[str, Term]
  signals: dict[str, Signal]
  vmapped: bool = False  # groups of views of one size are one pass through the network
  only: tuple[str, ...] = ()  # the parts that train; () is all
  teacher: nets.Network | None = None  # its variables are in the store
  where: Placement = ALONE  # the devices that share a step


def _view(
  c: ConfigDict, name: str, config: ConfigDict, data: Dataset, activation_map: ActivationMap | None
) -> View:
  key = f'views.{name}'
  stream = config.streams[one_of(c.stream, config.streams, f'{key}.stream')]
  mix = pick(MIXES, c.mix, f'{key}.mix') if (mixes := c.mix != 'none') else None
  if mixes and stream.partner == 'none':
    raise UserError(f"--config.{key}.mix='{c.mix}' needs --config.streams.{c.stream}.partner.")
  if c.mix in DEEP and stream.partner != 'permutation':
    raise UserError(
      f'--config.{key}.mix={c.mix} needs --config.streams.{c.stream}.partner=permutation: it '
      'mixes features of one batch.'
    )
  named = objective.ops_of(c, config)
  names = tuple(one_of(op, chain.OPS, f'{key}.augment') for op in chain.OPS if op in named)
  unknown = [op for op in named if op not in chain.OPS]
  if unknown:
    one_of(unknown[0], chain.OPS, 'data.augment')
  joint = one_of(config.forward, FORWARD, 'forward') == 'joint'
  return View(
    stream=c.stream,
    augment=shown.build_chain(names, config, data, activation_map),
    augment_name='+'.join(names) + (f'#{c.draw}' if c.draw else ''),
    mix=mix,
    label=pick(LABELS, c.label, f'{key}.label') if mixes else None,
    mixed_label=mixes and c.label == 'mixed',
    group='all' if joint else c.group or name,
    random='resized_crop' in names,
    mixes_features=c.mix in DEEP,
  )


def _check_active(views: Mapping[str, View], streams: Mapping[str, Stream], epochs: int) -> None:
  for name, view in views.items():
    if epochs == 1 and streams[view.stream].off_in_first_epoch:
      raise UserError(
        f"View '{name}' would never be active: it is off in the first epoch and the run has one; "
        f'set --config.epochs=2 or --config.streams.{view.stream}.start=on.'
      )


def _signal(c: ConfigDict, name: str, config: ConfigDict) -> Signal:
  key = f'signals.{name}'
  one_of(c.view, [v for t in config.terms.values() for v in t.views], f'{key}.view')
  kind = pick(SIGNALS, c.kind, f'{key}.kind')
  view = config.views[c.view]
  if c.kind == 'score_matrix':
    if view.mix != 'none' and config.streams[view.stream].chance == ((0, 1.0),):
      raise UserError(
        f"The score matrix would never be active: it reads the un-mixed view '{c.view}', which "
        f'{config.method} mixes in every step; drop one of the methods.'
      )
    if not 0 <= c.decay < 1:
      raise UserError(f'--config.{key}.decay={c.decay} is not in [0, 1).')
    form = one_of(c.form, ('matrix', 'vector'), f'{key}.form')
    return kind(c.view, form, one_of(c.source, ('running', 'pass'), f'{key}.source'), c.decay)
  for share in ('chance', 'accept', 'start'):
    if not 0 <= c[share] <= 1:
      raise UserError(f'--config.{key}.{share}={c[share]} is not in [0, 1].')
  if c.kind == 'levels':
    return kind(c.view, c.chance, c.accept, c.images, c.most)
  return kind(c.view, c.chance, c.start, config.epochs)


def _natural_first(section: Mapping[str, Any]) -> list[str]:
  return sorted(section, key=lambda name: (name != 'natural', name))


def _check_numbers(config: ConfigDict) -> None:
  for key, value in flatten(config).items():
    # as JSON, because a schedule holds numbers too
    if not isinstance(value, str) and 'NaN' in json.dumps(value):
      raise UserError(f'--config.{key}={value} is not a number.')
    fits, words = NUMBERS.get(key, (lambda x: True, ''))
    if not fits(value):
      raise UserError(f'--config.{key}={value} is not {words}.')


def _check_sizes(config: ConfigDict, size: int) -> int:
  """Returns the steps of an epoch over `size` images."""
  for key in ('epochs', 'batch_size'):
    if config[key] < 1:
      raise UserError(f'--config.{key}={config[key]} is not at least 1.')
  drop = one_of(config.last_batch, ('fill', 'drop'), 'last_batch') == 'drop'
  if config.batch_size > size:
    if drop:
      raise UserError(
        f'--config.batch_size={config.batch_size} is larger than the training set of {size} '
        f'images, and --config.last_batch=drop leaves nothing; take at most {size}.'
      )
    log.warning(
      'A batch of %d is larger than the training set of %d images: every epoch is one step, and '
      'the rest of its batch is not counted; --config.batch_size=%d or less makes more of it.',
      config.batch_size,
      size,
      max(1, size // 4),
    )
  return size // config.batch_size if drop else -(-size // config.batch_size)


def _trained(config: ConfigDict, data: Dataset) -> tuple[tuple[str, ...], nets.Network]:
  """Returns the parts that train, () for all, and the network that is trained."""
  o, num_classes = config.optim, len(data.class_names)
  drift = one_of(o.frozen_statistics, ('keep', 'drift'), 'optim.frozen_statistics') == 'drift'
  only = paths.prefixes(o.only)
  only = () if '' in only else only
  net = network(config.net, config.engine, num_classes, () if drift else only)
  if not only:
    return only, net
  if not config.start.run and not config.start.weights:
    raise UserError(
      f'--config.optim.only={only} freezes all other parts as they are initialised; give the '
      'finished run whose parts they are, --config.start.run=WORKDIR, or a file of pretrained '
      'ones, --config.start.weights=FILE.'
    )
  shapes = jax.eval_shape(lambda key: net.init(key, data.image_shape), jax.random.key(0))
  paths.check(only, shapes['params'], 'optim.only')
  return only, net


def _activation_map(net: nets.Network, normalise: shown.Normaliser) -> ActivationMap:
  return lambda variables, images, labels: nets.class_activation(
    net, variables, normalise(images), labels
  )


def build(config: ConfigDict, data: Dataset, teacher: ConfigDict | None = None) -> Recipe:
  """Fills the slots of a run.

  Args:
    config: resolved config.
    data: the data set, for its sizes and statistics.
    teacher: `net` section of the run that teaches, if one does.

  Raises:
    UserError: for a name, a value or a combination that cannot run, with the config key.
  """
  _check_numbers(config)
  objective.check(config)
  num_classes = len(data.class_names)
  steps = _check_sizes(config, len(data.train_labels))
  score = next((n for n, s in config.signals.items() if s.kind == 'score_matrix'), '')
  order: list[str] = []  # views in the order in which the terms name them
  terms = {
    n: objective.build_term(config.terms[n], n, config) for n in _natural_first(config.terms)
  }
  for term in terms.values():
    order += [v for v in term.views if v not in order]
  normalise = shown.build_normaliser(config, data)
  teaches = None if teacher is None else network(teacher, config.engine, num_classes)
  activation_map = None if teaches is None else _activation_map(teaches, normalise)
  views = {n: _view(config.views[n], n, config, data, activation_map) for n in order}
  used = {'natural', *(v.stream for v in views.values())}
  streams = {
    n: build_stream(config.streams[n], n, config.batch_size, config.epochs, score)
    for n in _natural_first(config.streams)
    if n in used
  }
  _check_active(views, streams, config.epochs)
  o = config.optim
  only, net = _trained(config, data)
  return Recipe(
    num_classes=num_classes,
    batch_size=config.batch_size,
    steps_per_epoch=steps,
    epochs=config.epochs,
    net=net,
    optimizer=optimiser.sgd(
      o.momentum, o.weight_decay, o.nesterov, only, paths.prefixes(o.undecayed)
    ),
    learning_rate=optimiser.learning_rate(
      o.lr,
      o.schedule,
      o.warmup_epochs,
      o.warmup_fraction,
      config.epochs,
      one_of(o.curve, ('steps', 'cosine'), 'optim.curve'),
    ),
    normalise=normalise,
    show=shown.build_show(config, data),
    streams=streams,
    views=views,
    terms=terms,
    signals={n: _signal(config.signals[n], n, config) for n in sorted(config.signals)},
    vmapped=config.forward == 'vmapped',
    only=only,
    teacher=teaches,
  )
