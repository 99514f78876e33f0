"""From a config to filled slots: the one place where names become functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from fass_jax import nets
from fass_jax.augment.cam import ActivationMap
from fass_jax.config.check import check
from fass_jax.config.stages import OWN
from fass_jax.data.numbers import nouns_of
from fass_jax.data.store import is_resident
from fass_jax.nets import paths
from fass_jax.nets.base import behind_trunk
from fass_jax.nets.named import check_input, describe_network, network
from fass_jax.recipe import classifier, examples, images, optimiser, tasks
from fass_jax.recipe import terms as terms_
from fass_jax.recipe import views as views_
from fass_jax.recipe.streams import build as build_stream
from fass_jax.recipe.tables import TABLES
from fass_jax.recipe.text import number, over_time
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


class Recipe(NamedTuple):
  """A run as functions and static numbers; the train step is compiled from it."""

  num_classes: int  # that are trained; the data set says how many of them are tested
  batch_size: int
  steps_per_epoch: int
  epochs: int
  net: nets.Network
  optimizer: optax.GradientTransformation
  learning_rate: Callable[[Time], Array]
  normalise: images.Normaliser  # uint8 [B, H, W, 3], or rows float32 [B, F] -> float32
  task: tasks.Task
  show: Callable[..., Array]  # (stored images, aspect of squares or None) -> images, in evaluation
  streams: dict[str, Stream]
  views: dict[str, View]  # in the order in which their batch statistics are folded
  terms: dict[str, Term]
  signals: dict[str, Signal]
  training: examples.TrainingSet
  vmapped: bool = False  # groups of views of one size are one pass through the network
  only: tuple[str, ...] = ()  # the parts that train; () is all
  teacher: nets.Network | None = None  # its variables are in the store
  where: Placement = ALONE  # the devices that share a step
  lines: tuple[tuple[str, str], ...] = ()  # by slot, what fills it, for people

  @property
  def step_net(self) -> nets.Network:
    """The network as a step applies it: to features, its head alone."""
    return self.net if self.training.features is None else behind_trunk(self.net)

  def step_input(self, examples: Array) -> Array:
    """Returns augmented examples as `step_net` reads them; features are as they are."""
    return self.normalise(examples) if self.training.features is None else examples


def _natural_first(section: Mapping[str, Any]) -> list[str]:
  return sorted(section, key=lambda name: (name != 'natural', name))


def _count_steps(config: ConfigDict, training: examples.TrainingSet) -> int:
  """Returns the steps per epoch over the training set."""
  size, noun, drop = training.size, training.noun, config.last_batch == 'drop'
  if config.batch_size > size:
    if drop:
      raise UserError(
        f'--config.batch_size={config.batch_size} is larger than the training set of {size} '
        f'{noun}, and --config.last_batch=drop leaves nothing; take at most {size}.'
      )
    log.warning(
      'A batch of %d is larger than the training set of %d %s: each epoch is a single, partly '
      'empty step; use --config.batch_size=%d or less for more steps per epoch.',
      config.batch_size,
      size,
      noun,
      max(1, size // 4),
    )
  return size // config.batch_size if drop else -(-size // config.batch_size)


def _network(
  net: ConfigDict, config: ConfigDict, data: Dataset, moving: tuple[str, ...] = ()
) -> nets.Network:
  """Returns the network of a section `net` for the examples and classes of a data set."""
  check_input(net.backbone, data.image_shape, data.name)
  return network(net, config.engine, data.outputs, moving)


def _trained(config: ConfigDict, data: Dataset) -> tuple[tuple[str, ...], nets.Network]:
  """Returns the parts that train, () for all, and the network that is trained."""
  o = config.optim
  drift = o.frozen_statistics == 'drift'
  only = paths.prefixes(o.only)
  only = () if '' in only else only
  net = _network(config.net, config, data, () if drift else only)
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


def _width(net: nets.Network, data: Dataset) -> int:
  """Returns the numbers per feature of the trunk, 0 if each expert has features of its own."""

  def features(key: Array) -> Array:
    return net.embed(net.init(key, data.image_shape), jnp.zeros((2, *data.image_shape)), False)[0]

  shape = jax.eval_shape(features, jax.random.key(0)).shape
  return shape[1] if len(shape) == 2 else 0


def _activation_map(net: nets.Network, normalise: images.Normaliser) -> ActivationMap:
  return lambda variables, pixels, labels: nets.class_activation(
    net, variables, normalise(pixels), labels
  )


def _optimiser(config: ConfigDict, only: tuple[str, ...]) -> tuple[Any, Any, str]:
  """Returns the optimiser, the learning rate over time, and the line that says what they are."""
  o, epochs = config.optim, config.epochs
  sgd = optimiser.sgd(o.momentum, o.weight_decay, o.nesterov, only, paths.prefixes(o.undecayed))
  rate = optimiser.learning_rate(
    o.lr, o.schedule, o.warmup_epochs, o.warmup_fraction, epochs, o.curve
  )
  warmup = min(o.warmup_epochs, o.warmup_fraction * epochs)
  curve = f'times {over_time(o.schedule, epochs)}' if o.curve == 'steps' else f'then {o.curve}'
  text = (
    f'SGD, momentum {number(o.momentum)}{" (Nesterov)" if o.nesterov else ""}, weight decay '
    f'{number(o.weight_decay)}; learning rate {number(o.lr)}, warm-up {number(warmup)} epochs, '
    f'{curve}'
  )
  return sgd, rate, text


def _data_line(config: ConfigDict, data: Dataset) -> str:
  n, many = data.counts[: data.num_tested], nouns_of(data)[1]
  text = f'{config.data.kind}: {n.sum()} {data.noun} of {len(n)} {many} ({n.max()} to {n.min()})'
  if data.auxiliary:
    text += f', {len(data.train_labels) - n.sum()} of {data.auxiliary} auxiliary classes'
  if data.held_labels is not None:
    text += f', {len(data.held_labels)} held out'
  if data.side:
    kept = 'on the device as squares' if is_resident(config, data) else 'decoded as needed'
    return f'{text}, {data.side} x {data.side}, {kept}'
  if data.is_rows:
    seed = config.data.subset_seed
    return f'{text}, {data.image_shape[0]} numbers a row, of {data.name}, subset seed {seed}'
  return f'{text}, profile {config.data.profile}, subset seed {config.data.subset_seed}'


def _other_runs(config: ConfigDict) -> list[tuple[str, str]]:
  """Says what comes from other runs, and what trains if not all."""

  def run(name: str) -> str:
    return name.replace(OWN, 'the folder ', 1) if name.startswith(OWN) else name

  rows = [
    ('start', f'parameters of {run(config.start.run)}' if config.start.run else ''),
    ('begins anew', ', '.join(paths.prefixes(config.start.fresh))),
    ('trains', ', '.join(paths.prefixes(config.optim.only))),
    ('no decay', ', '.join(paths.prefixes(config.optim.undecayed))),
    ('teacher', run(config.teacher.run)),
    ('classifier', classifier.text_of(config)),
  ]
  return [(name, text) for name, text in rows if text]


def _lines(
  config: ConfigDict,
  data: Dataset,
  steps: int,
  training: examples.TrainingSet,
  texts: Mapping[str, Mapping[str, str]],
  of_optimiser: str,
) -> tuple[tuple[str, str], ...]:
  """Joins what the builders say of their slots: `(slot, text)` in the order of reading."""
  return (
    ('data', _data_line(config, data)),
    *((('examples', training.text),) if training.text else ()),
    ('network', describe_network(config.net)),
    ('length', f'{config.epochs} epochs of {steps} steps of {config.batch_size} {training.noun}'),
    *((f'{kind} {name}', text) for kind, built in texts.items() for name, text in built.items()),
    *_other_runs(config),
    ('optimiser', of_optimiser),
    ('engine', f'forward {config.forward}, precision {config.engine.precision}'),
  )


def _apart(built: Mapping[str, tuple[Any, str]]) -> tuple[dict[str, Any], dict[str, str]]:
  """Takes slots and their lines apart."""
  return {n: slot for n, (slot, _) in built.items()}, {n: text for n, (_, text) in built.items()}


def _views(
  config: ConfigDict, terms: Mapping[str, Term], data: Dataset, looks: ActivationMap | None
) -> tuple[dict[str, View], dict[str, str]]:
  """Fills the views in the order in which the terms name them."""
  order = dict.fromkeys(v for term in terms.values() for v in term.views)
  return _apart({n: views_.build(config.views[n], n, config, data, looks) for n in order})


def _streams(
  config: ConfigDict, views: Mapping[str, View], noun: str
) -> tuple[dict[str, Stream], dict[str, str]]:
  """Fills the streams that some view shows, and returns their lines too."""
  used, score = {'natural', *(v.stream for v in views.values())}, views_.score_of(config)
  built = {
    n: build_stream(config.streams[n], n, config.batch_size, config.epochs, score, noun)
    for n in _natural_first(config.streams)
    if n in used
  }
  streams, texts = _apart(built)
  views_.check_active(views, streams, config.epochs)
  return streams, texts


def build(config: ConfigDict, data: Dataset, teacher: ConfigDict | None = None) -> Recipe:
  """Fills the slots of a run.

  Args:
    config: resolved config.
    data: the data set, for its sizes and statistics.
    teacher: `net` section of the run that teaches, if one does.

  Raises:
    UserError: for a name, a value or a combination that cannot run, with the config key.
  """
  check(config, TABLES)
  task = tasks.build(config, data)
  terms_.check(config)
  only, net = _trained(config, data)
  training = examples.build(config, data, net, only)
  steps, counts = _count_steps(config, training), data.counts
  terms, of_terms = _apart(
    {n: terms_.build_term(config.terms[n], n, config, counts) for n in _natural_first(config.terms)}
  )
  normalise = images.build_normaliser(config, data)
  teaches = teacher and _network(teacher, config, data)
  looks = None if teaches is None else _activation_map(teaches, normalise)
  views, of_views = _views(config, terms, examples.shown(training, data), looks)
  streams, of_streams = _streams(config, views, training.noun)
  width = _width(net, data)
  signals, of_signals = _apart(
    {n: views_.build_signal(config.signals[n], n, config, width) for n in sorted(config.signals)}
  )
  sgd, rate, of_optimiser = _optimiser(config, only)
  texts = {'stream': of_streams, 'view': of_views, 'term': of_terms, 'signal': of_signals}
  return Recipe(
    num_classes=len(counts),
    batch_size=config.batch_size,
    steps_per_epoch=steps,
    epochs=config.epochs,
    net=net,
    optimizer=sgd,
    learning_rate=rate,
    normalise=normalise,
    task=task,
    show=images.build_show(config, data),
    streams=streams,
    views=views,
    terms=terms,
    signals=signals,
    training=training,
    vmapped=config.forward == 'vmapped',
    only=only,
    teacher=teaches,
    lines=_lines(config, data, steps, training, texts, of_optimiser),
  )
