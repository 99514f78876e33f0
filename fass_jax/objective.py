"""From a config to the terms of the objective: losses, class weights, and what cannot be joined."""

from __future__ import annotations

import functools
from typing import Any

from ml_collections import ConfigDict

from fass_jax import optim
from fass_jax.config import one_of, pick
from fass_jax.losses import JOINT, LOSSES, TAUGHT, reweight
from fass_jax.losses.weights import effective_number_weights, inverse_frequency_weights
from fass_jax.types import Term, UserError

PRIOR = ('balanced_softmax', 'logit_adjustment')  # these correct the class prior
MARGIN = ('ldam', 'ride')  # these scale their margins as a cosine head its logits


def _class_weights(config: ConfigDict) -> Any:
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
  prior = [f'loss={config.loss}'] if config.loss in PRIOR else []
  if config.reweight.kind != 'none':
    prior.append(f'reweight.kind={config.reweight.kind}')
  natural = config.streams.natural.sampler
  if natural != 'permutation':
    prior.append(f'streams.natural.sampler={natural}')
  if len(prior) > 1:
    raise UserError(
      f'{" and ".join(prior)} correct the class prior twice; drop one of the methods in '
      f"'{config.method}'."
    )
  if config.loss in MARGIN and config.net.head != 'cosine':
    raise UserError(f"--config.loss='{config.loss}' needs --config.net.head=cosine.")
  if config.loss == 'ride' and config.net.experts < 2:
    raise UserError("--config.loss='ride' needs --config.net.experts=2 or more.")
  losses = {config.loss if term.loss == 'host' else term.loss for term in config.terms.values()}
  if config.teacher.run and not losses & TAUGHT:
    raise UserError(
      f'--config.teacher.run={config.teacher.run} would never be asked: no term follows a teacher; '
      'add the method distill.'
    )


def _check_needs(loss: str, config: ConfigDict) -> None:
  """Refuses a loss whose inputs the network or the run does not have."""
  if loss in JOINT and not config.net.projection:
    raise UserError(f"The loss '{loss}' needs an embedding: set --config.net.projection=128.")
  if loss in TAUGHT and not config.teacher.run:
    raise UserError(
      f"The loss '{loss}' needs a teacher: give the work directory of the run that teaches, "
      '--config.teacher.run=WORKDIR.'
    )
  if loss == 'router' and not config.net.router:
    raise UserError("The loss 'router' needs --config.net.router=True.")
  temperature = config.loss_args.distill_temperature
  if loss == 'distillation' and not temperature > 0:
    raise UserError(f'--config.loss_args.distill_temperature={temperature} is not above 0.')


def build_term(c: ConfigDict, name: str, config: ConfigDict) -> Term:
  """Fills a term: its loss by name, the class weights of the host, its weight over time.

  Args:
    c: the term's section.
    name: its name.
    config: the whole config.

  Raises:
    UserError: for a name or value that is none.
  """
  views = (c.views,) if isinstance(c.views, str) else tuple(c.views)
  for view in views:
    one_of(view, config.views, f'terms.{name}.views')
  host = c.loss == 'host'
  loss = config.loss if host else c.loss
  builder = pick(LOSSES, loss, 'loss' if host else f'terms.{name}.loss')
  args, share = config.loss_args, optim.piecewise(config.reweight.share, config.epochs)
  margins = {'scale': config.net.scale, 'max_margin': args.max_margin}
  known: dict[str, dict[str, Any]] = {
    'ldam': margins,
    'ride': {
      **margins, 'gamma': args.diversity, 'factor': args.diversity_factor, 'late': share,
    },
    'logit_adjustment': {'tau': args.tau},
    'focal': {'gamma': args.gamma},
    'balanced_contrastive': {'temperature': args.temperature},
    'distillation': {'temperature': args.distill_temperature},
    'router': {'positive': args.router_positive},
  }  # fmt: skip
  losses = builder(**known.get(loss, {}))
  weights = _class_weights(config)
  if weights is not None and loss == config.loss:
    if not optim.ever(share, config.epochs):
      raise UserError(
        f'The class weights would never be active in {config.epochs} epochs: they begin at '
        f'{config.reweight.share[-1][0]} of the run; set more --config.epochs or another '
        '--config.reweight.share.'
      )
    losses = (reweight(losses[0], weights, share), *losses[1:])
  _check_needs(loss, config)
  divisor = one_of(c.divisor, ('weights', 'batch'), f'terms.{name}.divisor')
  return Term(
    views=views,
    losses=losses,
    joint=loss in JOINT,
    weight=optim.piecewise(c.weight, config.epochs),
    per_batch=divisor == 'batch',
    batch_size=config.batch_size,
    taught=loss in TAUGHT,
  )
