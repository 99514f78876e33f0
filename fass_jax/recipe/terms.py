"""From a config to the terms of the objective: losses, class weights, and what cannot be joined."""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from fass_jax.config.lookup import one_of, pick
from fass_jax.losses import LOSSES, reweight
from fass_jax.losses.weights import effective_number_weights, inverse_frequency_weights
from fass_jax.recipe import optimiser
from fass_jax.recipe.streams import size_of
from fass_jax.types import Term, UserError

# parameter of a loss: the loss, what is asked of it, and that in words
BOUNDS: dict[str, tuple[str, Callable[[Any], bool], str]] = {
  'temperature': ('distillation', lambda x: x > 0, 'above 0'),
  'power': ('distillation', lambda x: x > 0, 'above 0'),
  'smoothing': ('label_smoothing', lambda x: 0 <= x < 1, 'in [0, 1)'),
  'share': ('equalised', lambda x: 0 <= x <= 1, 'in [0, 1]'),
  'gamma': ('focal_sigmoid', lambda x: x >= 0, 'at least 0'),
  'alpha': ('focal_sigmoid', lambda x: 0 <= x < 1, 'in [0, 1)'),
  'k': ('range', lambda x: x >= 1, 'at least 1'),
}

log = logging.getLogger('fass_jax')


def class_weights(config: ConfigDict) -> Any:
  """Returns the function from counts `[C]` to the class weights of the host loss, None for ones.

  Raises:
    UserError: for a kind or a value that is none.
  """
  r = config.reweight
  kind = one_of(r.kind, ('none', 'effective_number', 'inverse'), 'reweight.kind')
  if kind == 'effective_number':
    if not 0 <= r.beta < 1:
      raise UserError(f'--config.reweight.beta={r.beta} is not in [0, 1).')
    return functools.partial(effective_number_weights, beta=r.beta)
  return functools.partial(inverse_frequency_weights, power=r.power) if kind == 'inverse' else None


def check(config: ConfigDict) -> None:
  """Refuses combinations of the objective that contradict each other.

  Raises:
    UserError: with the reason.
  """
  loss = pick(LOSSES, config.loss, 'loss')
  _check_priors(config)
  if loss.cosine and config.net.head != 'cosine':
    raise UserError(f"--config.loss='{config.loss}' needs --config.net.head=cosine.")
  if config.loss == 'ride' and config.net.experts < 2:
    raise UserError("--config.loss='ride' needs --config.net.experts=2 or more.")
  if loss.beside:
    raise UserError(
      f'--config.loss={config.loss} would train no classifier; give it a term of its own, beside '
      f"the host's: --config.terms.NAME.loss={config.loss}, as a method can."
    )
  names = {config.loss if term.loss == 'host' else term.loss for term in config.terms.values()}
  unused = [f'--config.loss={config.loss}'] if config.loss != 'ce' else []
  if config.reweight.kind != 'none':
    unused.append(f'--config.reweight.kind={config.reweight.kind}')
  if unused and config.loss not in names:
    raise UserError(
      f'{" and ".join(unused)} would never be active: no term has the host loss; drop one of the '
      f"methods in '{config.method}'."
    )
  if 'bbn' in names and config.net.experts != 2:
    raise UserError("The loss 'bbn' blends two branches: set --config.net.experts=2.")
  if 'bbn' in names and config.epochs < 2:
    raise UserError(
      "The second branch of the loss 'bbn' would never be active in 1 epoch; set --config.epochs=2 "
      'or more.'
    )
  _check_teacher(config, any(LOSSES[n].needs_teacher for n in names if n in LOSSES))


def views_of(term: ConfigDict) -> tuple[str, ...]:
  """Names the views of a term; a single one may be given as a word."""
  return (term.views,) if isinstance(term.views, str) else tuple(term.views)


def ops_of(view: ConfigDict, config: ConfigDict) -> tuple[str, ...]:
  """Names the augmentations of a view: its own, or those of the data set and of the methods."""
  added = (name for name, on in config.augment.items() if on)
  return tuple(view.augment) or (*config.data.augment, *added)


def _check_teacher(config: ConfigDict, followed: bool) -> None:
  """Refuses ops that no view has, and a teacher that nobody asks or that is not there."""
  named = {view for term in config.terms.values() for view in views_of(term)}
  ops = {op for v in named if v in config.views for op in ops_of(config.views[v], config)}
  for op, on in config.augment.items():
    if on and op not in ops:
      raise UserError(
        f'--config.augment.{op}=True would never be active: every view has ops of its own; name it '
        f'in --config.views.{min(named)}.augment.'
      )
  if 'cam' in ops and not config.teacher.run:
    raise UserError(
      "The augmentation 'cam' needs a trained network that looks: give the work directory of its "
      'run, --config.teacher.run=WORKDIR.'
    )
  if config.teacher.run and not followed and 'cam' not in ops:
    raise UserError(
      f'--config.teacher.run={config.teacher.run} would never be asked: no term follows a teacher; '
      'add the method distill, or --config.augment.cam=True.'
    )


def _check_priors(config: ConfigDict) -> None:
  """Refuses two corrections of the class prior, unless the config wants them stacked."""
  prior = [f'loss={config.loss}'] if LOSSES[config.loss].corrects_prior else []
  if config.reweight.kind != 'none':
    prior.append(f'reweight.kind={config.reweight.kind}')
  natural = config.streams.natural.sampler
  if natural != 'permutation':
    prior.append(f'streams.natural.sampler={natural}')
  if config.streams.natural.partner == 'reversed' and config.views.natural.label == 'mixed':
    prior.append('streams.natural.partner=reversed')  # half of the labels are those of partners
  prior += [
    f'terms.{name}.loss={term.loss}'
    for name, term in config.terms.items()
    if term.loss in LOSSES and LOSSES[term.loss].corrects_prior
  ]
  if len(prior) > 1:
    twice = (
      f'{" and ".join(prior)} correct the class prior twice, which gives the tail too much (two '
      'that give 1 / n make 1 / n^2)'
    )
    if not config.stacked_priors:
      raise UserError(
        f"{twice}; drop one of them ('{config.method}' and what was overridden), or take both all "
        'the same with --config.stacked_priors=True.'
      )
    log.warning('%s, as --config.stacked_priors=True wants.', twice)


def _check_needs(loss: str, config: ConfigDict) -> None:
  """Refuses a loss whose inputs the network or the run does not have."""
  kind = LOSSES[loss]
  if kind.embeds and not config.net.projection:
    raise UserError(f"The loss '{loss}' needs an embedding: set --config.net.projection=128.")
  if kind.needs_teacher and not config.teacher.run:
    raise UserError(
      f"The loss '{loss}' needs a teacher: give the work directory of the run that teaches, "
      '--config.teacher.run=WORKDIR.'
    )
  if loss == 'router' and not config.net.router:
    raise UserError("The loss 'router' needs --config.net.router=True.")
  for key, (user, fits, words) in BOUNDS.items():
    value = config.loss_args[loss][key] if loss == user else None
    if value is not None and not fits(value):
      raise UserError(f'--config.loss_args.{loss}.{key}={value} is not {words}.')


def _check_pair(name: str, views: tuple[str, ...], config: ConfigDict) -> None:
  """Refuses a term of 'bbn' whose views are no two whole batches, row for row."""
  streams = [config.streams[config.views[view].stream] for view in views]
  if len(views) != 2 or any(s.rho != 1 or s.start != 'on' for s in streams):
    raise UserError(
      f"--config.terms.{name}: the loss 'bbn' blends two views, of natural and of reversed class "
      f'frequencies, that are whole batches in every step; give two --config.terms.{name}.views '
      'whose streams have rho=1.0 and start=on.'
    )


def _check_groups(name: str, views: tuple[str, ...], config: ConfigDict) -> None:
  """Refuses a term of 'range' whose batches have no two images of a class, or one class."""
  for view in views:
    stream = config.views[view].stream
    s = config.streams[stream]
    size = size_of(s, config.batch_size)
    if s.sampler == 'groups' and not 2 <= s.images < size:
      raise UserError(
        f'--config.terms.{name}: the range loss would never be active on stream {stream} of {size} '
        f'images a step, {s.images} of each class: it compares images of a class, and classes; set '
        f'--config.streams.{stream}.images to 2 or more, and below {size}.'
      )


def loss_parameters(config: ConfigDict, loss: str) -> dict[str, Any]:
  """Returns what a loss reads of the config; a schedule `((when, value), ...)` becomes a function.

  Args:
    config: the whole config.
    loss: a key of `LOSSES`.
  """
  flat: dict[str, Any] = {}
  for name, key in LOSSES[loss].reads.items():
    value = functools.reduce(operator.getitem, key.split('.'), config)
    flat[name] = optimiser.piecewise(value, config.epochs) if isinstance(value, tuple) else value
  return flat


def build_term(c: ConfigDict, name: str, config: ConfigDict) -> Term:
  """Fills a term: its loss by name, the class weights of the host, its weight over time.

  Args:
    c: the term's section.
    name: its name.
    config: the whole config.

  Raises:
    UserError: for a name or value that is none.
  """
  views = views_of(c)
  for view in views:
    one_of(view, config.views, f'terms.{name}.views')
  host = c.loss == 'host'
  loss = config.loss if host else c.loss
  kind = pick(LOSSES, loss, 'loss' if host else f'terms.{name}.loss')
  losses = kind.build(**loss_parameters(config, loss))
  share = optimiser.piecewise(config.reweight.share, config.epochs)
  weights = class_weights(config)
  if weights is not None and loss == config.loss:
    if not optimiser.is_ever_on(share, config.epochs):
      raise UserError(
        f'The class weights would never be active in {config.epochs} epochs: they begin at '
        f'{config.reweight.share[-1][0]} of the run; set more --config.epochs or another '
        '--config.reweight.share.'
      )
    losses = (reweight(losses[0], weights, share), *losses[1:])
  _check_needs(loss, config)
  if loss == 'bbn':
    _check_pair(name, views, config)
  if loss == 'range':
    _check_groups(name, views, config)
  divisor = one_of(c.divisor, ('weights', 'batch'), f'terms.{name}.divisor')
  return Term(
    views=views,
    losses=losses,
    joint=kind.joint,
    weight=optimiser.piecewise(c.weight, config.epochs),
    per_batch=divisor == 'batch',
    batch_size=config.batch_size,
    needs_teacher=kind.needs_teacher,
  )
