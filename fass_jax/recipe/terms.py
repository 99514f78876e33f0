"""From a config to the terms of the objective: losses, class weights, and what cannot be joined."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fass_jax.augment import chain
from fass_jax.config.keys import KEYS
from fass_jax.config.keys_pieces import STREAM_KEYS
from fass_jax.losses import LOSSES, reweight
from fass_jax.losses.kinds import Use, ViewOfTerm
from fass_jax.losses.weights import CLASS_WEIGHTS
from fass_jax.recipe.optimiser import is_ever_on, piecewise
from fass_jax.recipe.streams import size_of
from fass_jax.recipe.text import over_time, value
from fass_jax.sampling.named import PARTNERS
from fass_jax.types import Array, Term, UserError

log = logging.getLogger('fass_jax')


def loss_of(term: ConfigDict, config: ConfigDict) -> str:
  """Names the loss of a term: its own, or the run's."""
  return config.loss if term.loss == 'host' else term.loss


def views_of(term: ConfigDict) -> tuple[str, ...]:
  """Names the views of a term; a single one may be given as a word."""
  return (term.views,) if isinstance(term.views, str) else tuple(term.views)


def ops_of(view: ConfigDict, config: ConfigDict) -> tuple[str, ...]:
  """Names the augmentations of a view: its own, or those of the data set and of the methods."""
  added = (name for name, on in config.augment.items() if on)
  return tuple(view.augment) or (*config.data.augment, *added)


def class_weights(config: ConfigDict) -> Callable[[Any], Array] | None:
  """Returns the function from counts `[C]` to the class weights of the host loss, None for ones."""
  r = config.reweight
  return None if r.kind == 'none' else CLASS_WEIGHTS[r.kind].build(r)


def _in_a_step(config: ConfigDict, counts: np.ndarray) -> Callable[[Any], Any] | None:
  """Returns `class_weights` for use inside the step: of some kinds the weights are constants."""
  weights = class_weights(config)
  if weights is None or not CLASS_WEIGHTS[config.reweight.kind].on_host:
    return weights
  table = weights(counts)
  return lambda n: jnp.asarray(table)


def check(config: ConfigDict) -> None:
  """Refuses combinations of the objective that contradict each other.

  Raises:
    UserError: with the reason.
  """
  _check_priors(config)
  if LOSSES[config.loss].beside:
    raise UserError(
      f'--config.loss={config.loss} would train no classifier; give it a term of its own, beside '
      f"the host's: --config.terms.NAME.loss={config.loss}, as a method can."
    )
  losses = {loss_of(term, config) for term in config.terms.values()}
  unused = [f'--config.loss={config.loss}'] * (config.loss != KEYS['loss'].default)
  if config.reweight.kind != 'none':
    unused.append(f'--config.reweight.kind={config.reweight.kind}')
  if unused and config.loss not in losses:
    raise UserError(
      f'{" and ".join(unused)} would never be active: no term has the host loss; drop one of the '
      f"methods in '{config.method}'."
    )
  for name, term in config.terms.items():
    refuse(name, term, config)
  _check_teacher(config, any(LOSSES[n].needs_teacher for n in losses if n in LOSSES))


def _use(name: str, term: ConfigDict, config: ConfigDict) -> Use:
  """Returns what a loss may ask of the term that reads it."""
  views = [config.views[v] for v in views_of(term) if v in config.views]
  streams = [(v.stream, config.streams[v.stream]) for v in views if v.stream in config.streams]
  return Use(
    name=f"The loss '{loss_of(term, config)}'",
    term=f'--config.terms.{name}',
    host=term.loss == 'host',
    config=config,
    views=tuple(ViewOfTerm(n, s, size_of(s, config.batch_size)) for n, s in streams),
  )


def refuse(name: str, term: ConfigDict, config: ConfigDict) -> None:
  """Refuses a term whose loss lacks what it needs: of the network, the views, the run.

  Raises:
    UserError: with the reason.
  """
  loss = loss_of(term, config)
  kind, use = LOSSES[loss], _use(name, term, config)
  for reason in filter(None, (needs(use) for needs in kind.refuses)):
    raise UserError(reason)
  if kind.needs_teacher and not config.teacher.run:
    raise UserError(
      f'{use.name} needs a teacher: give the work directory of the run that teaches, '
      '--config.teacher.run=WORKDIR.'
    )


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
  looks = chain.looks(ops)
  if looks and not config.teacher.run:
    raise UserError(
      f"The augmentation '{looks}' needs a trained network that looks: give the work directory of "
      'its run, --config.teacher.run=WORKDIR.'
    )
  if config.teacher.run and not followed and not looks:
    raise UserError(
      f'--config.teacher.run={config.teacher.run} would never be asked: no term follows a teacher; '
      f'add the method distill, or --config.augment.{chain.LOOK[0]}=True.'
    )


def _check_priors(config: ConfigDict) -> None:
  """Refuses two corrections of the class prior, unless the config wants them stacked."""
  natural = config.streams.natural
  prior = [f'loss={config.loss}'] if LOSSES[config.loss].corrects_prior else []
  if config.reweight.kind != 'none':
    prior.append(f'reweight.kind={config.reweight.kind}')
  if config.examples.resample != KEYS['examples.resample'].default:
    prior.append(f'examples.resample={config.examples.resample}')
  if natural.sampler != STREAM_KEYS['sampler'].default:
    prior.append(f'streams.natural.sampler={natural.sampler}')
  partner = PARTNERS.get(natural.partner)
  if partner and partner.corrects_prior and config.views.natural.label == 'mixed':
    # half of the labels are those of partners
    prior.append(f'streams.natural.partner={natural.partner}')
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


def loss_parameters(config: ConfigDict, loss: str) -> dict[str, Any]:
  """Returns what a loss reads of the config; a schedule `((when, value), ...)` becomes a function.

  Args:
    config: the whole config.
    loss: a key of `LOSSES`.
  """
  found: dict[str, Any] = {}
  for name, key in LOSSES[loss].reads.items():
    value: Any = config
    for part in key.split('.'):
      value = value[part]
    found[name] = piecewise(value, config.epochs) if isinstance(value, tuple) else value
  return found


def _text(c: ConfigDict, config: ConfigDict, parameters: dict[str, Any]) -> str:
  """Returns what a reader is told of a term."""
  loss, r = loss_of(c, config), config.reweight
  text = f'{loss} of {", ".join(views_of(c))}; weight {over_time(c.weight, config.epochs)}'
  plain = {k: v for k, v in parameters.items() if not callable(v)}
  if plain:
    text += '; ' + ', '.join(f'{k} {value(v)}' for k, v in plain.items())
  if c.divisor == 'batch':
    text += '; divided by the batch size'
  if loss == config.loss and r.kind != 'none':
    detail = CLASS_WEIGHTS[r.kind].text.format(**r)
    text += f'; class weights {r.kind}, {detail}, share {over_time(r.share, config.epochs)}'
  return text


def build_term(
  c: ConfigDict, name: str, config: ConfigDict, counts: np.ndarray
) -> tuple[Term, str]:
  """Fills a term: its loss by name, the class weights of the host, its weight over time.

  Args:
    c: the term's section.
    name: its name.
    config: the whole config.
    counts: `[C]`, training examples per class, or per bin of a number.

  Returns:
    The term, and the line that says what it is.

  Raises:
    UserError: for a loss that lacks what it needs, or class weights that would never be active.
  """
  views = views_of(c)
  refuse(name, c, config)
  loss = loss_of(c, config)
  kind, parameters = LOSSES[loss], loss_parameters(config, loss)
  losses = kind.build(**parameters)
  share = piecewise(config.reweight.share, config.epochs)
  weights = _in_a_step(config, counts)
  if weights is not None and loss == config.loss:
    if not is_ever_on(share, config.epochs):
      raise UserError(
        f'The class weights would never be active in {config.epochs} epochs: they begin at '
        f'{config.reweight.share[-1][0]} of the run; set more --config.epochs or another '
        '--config.reweight.share.'
      )
    losses = (reweight(losses[0], weights, share), *losses[1:])
  term = Term(
    views=views,
    losses=losses,
    joint=kind.joint,
    weight=piecewise(c.weight, config.epochs),
    per_batch=c.divisor == 'batch',
    batch_size=config.batch_size,
    needs_teacher=kind.needs_teacher,
    labels=kind.labels,
  )
  return term, _text(c, config, parameters)
