"""What a recipe is made of, a line a slot, for people to read before they trust a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fass_jax.classifiers import READS
from fass_jax.config.stages import OWN
from fass_jax.data.load import load
from fass_jax.data.store import is_resident
from fass_jax.nets import paths
from fass_jax.recipe import classifier
from fass_jax.recipe.build import Recipe, build
from fass_jax.recipe.terms import loss_parameters, views_of
from fass_jax.types import Dataset, Stream


def _number(x: float) -> str:
  return f'{x:g}'


def _over_time(pairs: Any, epochs: int) -> str:
  """Writes a schedule of `optim.piecewise`: '0, from epoch 161 on 1' (epochs count from 1)."""
  if isinstance(pairs, int | float):
    return _number(pairs)
  # an epoch that a fraction of the run only just reaches has begun
  whens = [w * epochs if isinstance(w, float) and w < 1 else w for w, _ in pairs]
  parts = [_number(pairs[0][1])]
  for when, (_, value) in zip(whens[1:], pairs[1:]):
    parts.append(f'from epoch {int(np.ceil(when - 1e-6)) + 1} on {_number(value)}')
  return ', '.join(parts)


def _named(section: Mapping[str, Any], keys: tuple[str, ...]) -> str:
  def text(value: Any) -> str:
    return _number(value) if isinstance(value, float) else str(value)

  return ', '.join(f'{k} {text(section[k])}' for k in keys)


def _data(config: ConfigDict, data: Dataset) -> str:
  n = np.bincount(data.train_labels, minlength=len(data.class_names))
  text = (
    f'{config.data.kind}: {len(data.train_labels)} images of {len(n)} classes ({n.max()} to '
    f'{n.min()})'
  )
  if data.held_labels is not None:
    text += f', {len(data.held_labels)} held out'
  if data.side:
    kept = 'on the device as squares' if is_resident(config, data) else 'decoded as needed'
    return f'{text}, {data.side} x {data.side}, {kept}'
  return f'{text}, profile {config.data.profile}, subset seed {config.data.subset_seed}'


def _net(config: ConfigDict, recipe: Recipe, data: Dataset) -> str:
  shape = data.image_shape
  params = jax.eval_shape(lambda k: recipe.net.init(k, shape), jax.random.key(0))['params']
  size = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))
  net = config.net
  text = f'{net.backbone}, depth {net.depth}, {net.head} head'
  if net.head == 'cosine':
    text += f' of scale {_number(net.scale)}'
  if net.experts > 1:
    text += f', {net.experts} experts' + (' of 3/4 of the channels' if net.reduced else '')
    text += ', with a last block of their own' * (net.branch == 'block')
  if net.class_scale:
    text += ', a learned scale for each class'
  if net.projection:
    text += f', projection to {net.projection}'
  return f'{text}: {size} parameters'


def _stream(c: ConfigDict, stream: Stream, epochs: int) -> str:
  text = f'{stream.size} images a step, sampler {c.sampler}'
  if c.sampler.startswith('effective_number'):
    text += f' of beta {_number(c.beta) if c.beta else "(N - 1) / N"}'
  if c.sampler == 'power':
    text += f' n^q, q {_over_time(c.power, epochs)}'
  if c.sampler == 'groups':
    text += f' of {c.images} images a class'
  if c.rho < 1:
    text += f', rho {_number(c.rho)} ({c.gate})'
  if c.partner != 'none':
    details = {
      'score': f'at least {_number(c.lambda_min)}' if c.lambda_min else '',
      'fixed': _number(c.lam_value),
    }
    detail = details.get(c.lam, f'alpha {_number(c.lam_alpha)}')
    text += f'; partner {c.partner}, lambda {c.lam}' + (f' {detail}' if detail else '')
    if c.chance != ((0, 1.0),):
      text += f', mixed with probability {_over_time(c.chance, epochs)}'
  return text + (', off in the first epoch' if stream.off_in_first_epoch else '')


def _view(c: ConfigDict, name: str, recipe: Recipe) -> str:
  view = recipe.views[name]
  ops = view.augment_name.partition('#')[0].replace('+', ', ') or 'no ops'
  text = f'stream {c.stream}; {ops}'
  if view.mix is not None:
    text += f'; {c.mix}, {c.label} label'
  return text + (f'; one pass with group {view.group}' if view.group != name else '')


def _term(c: ConfigDict, config: ConfigDict) -> str:
  loss = config.loss if c.loss == 'host' else c.loss
  text = f'{loss} of {", ".join(views_of(c))}; weight {_over_time(c.weight, config.epochs)}'
  numbers = {k: v for k, v in loss_parameters(config, loss).items() if not callable(v)}
  if numbers:
    text += '; ' + ', '.join(f'{k} {_number(v)}' for k, v in numbers.items())
  if c.divisor == 'batch':
    text += '; divided by the batch size'
  r = config.reweight
  if loss == config.loss and r.kind != 'none':
    detail = f'beta {_number(r.beta)}' if r.kind == 'effective_number' else f'power {r.power}'
    text += f'; class weights {r.kind}, {detail}, share {_over_time(r.share, config.epochs)}'
  return text


def _signal(c: ConfigDict) -> str:
  read: dict[str, tuple[str, ...]] = {
    'score_matrix': ('form', 'source', 'decay'),
    'levels': ('chance', 'accept', 'images', 'most'),
    'op_weights': ('chance', 'start'),
  }
  return f'{c.kind} of view {c.view}; {_named(c, read[c.kind])}'


def _optimiser(config: ConfigDict) -> str:
  o, epochs = config.optim, config.epochs
  warmup = min(o.warmup_epochs, o.warmup_fraction * epochs)
  curve = f'times {_over_time(o.schedule, epochs)}' if o.curve == 'steps' else f'then {o.curve}'
  return (
    f'SGD, momentum {_number(o.momentum)}{" (Nesterov)" if o.nesterov else ""}, weight decay '
    f'{_number(o.weight_decay)}; learning rate {_number(o.lr)}, warm-up {_number(warmup)} epochs, '
    f'{curve}'
  )


def _engine(config: ConfigDict, recipe: Recipe) -> str:
  text = f'forward {config.forward}, precision {config.engine.precision}'
  rows = recipe.where.rows
  return text if rows is None else f'{text}, batches over {rows.num_devices} devices'


def _run(name: str) -> str:
  return name.replace(OWN, 'the folder ', 1) if name.startswith(OWN) else name


def _earlier(config: ConfigDict) -> list[tuple[str, str]]:
  """Says what comes from other runs, and what trains if not all."""
  rows = [
    ('start', f'parameters of {_run(config.start.run)}' if config.start.run else ''),
    ('begins anew', ', '.join(paths.prefixes(config.start.fresh))),
    ('trains', ', '.join(paths.prefixes(config.optim.only))),
    ('no decay', ', '.join(paths.prefixes(config.optim.undecayed))),
    ('teacher', _run(config.teacher.run)),
  ]
  return [(name, text) for name, text in rows if text]


def _classifier(config: ConfigDict) -> list[tuple[str, str]]:
  """Says what is fitted at the end, if anything."""
  args = config.classifier_args
  if config.classifier == 'trained' and not args.calibrate:
    return []
  keys = (*READS[config.classifier], *(('calibrate',) if args.calibrate else ()))
  return [('classifier', '; '.join(filter(None, (config.classifier, _named(args, keys)))))]


def describe(config: ConfigDict, recipe: Recipe, data: Dataset) -> str:
  """Returns the resolved recipe, a line for each filled slot.

  Args:
    config: resolved config.
    recipe: what `recipe.build` made of it.
    data: the data set.
  """
  rows = [
    ('data', _data(config, data)),
    ('network', _net(config, recipe, data)),
    (
      'length',
      f'{recipe.epochs} epochs of {recipe.steps_per_epoch} steps of {recipe.batch_size} images',
    ),
    *(
      (f'stream {n}', _stream(config.streams[n], s, recipe.epochs))
      for n, s in recipe.streams.items()
    ),
    *((f'view {n}', _view(config.views[n], n, recipe)) for n in recipe.views),
    *((f'term {n}', _term(config.terms[n], config)) for n in recipe.terms),
    *((f'signal {n}', _signal(config.signals[n])) for n in recipe.signals),
    *_earlier(config),
    *_classifier(config),
    ('optimiser', _optimiser(config)),
    ('engine', _engine(config, recipe)),
  ]
  width = max(len(name) for name, _ in rows)
  return '\n'.join(f'  {name:{width}}  {text}' for name, text in rows)


def resolve(config: ConfigDict) -> str:
  """Returns the same for a config whose data have not been loaded yet.

  Raises:
    UserError: for everything that would stop a run before its first step.
  """
  data = load(config)
  recipe = build(config, data)
  classifier.chosen(config, data)
  return describe(config, recipe, data)
