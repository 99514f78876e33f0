"""From a config to the streams of images: samplers, partners, ratios."""

from __future__ import annotations

import math

from ml_collections import ConfigDict

from fass_jax.config.lookup import one_of, pick
from fass_jax.recipe import optimiser
from fass_jax.sampling import partners
from fass_jax.sampling.samplers import SAMPLERS, Options
from fass_jax.types import Sampler, Stream, UserError


def _sampler(c: ConfigDict, name: str, epochs: int) -> Sampler:
  key = f'streams.{name}'
  if not 0 <= c.beta < 1:
    raise UserError(f'--config.{key}.beta={c.beta} is not in [0, 1); 0 stands for (N - 1) / N.')
  if c.images < 1:
    raise UserError(f'--config.{key}.images={c.images} is not at least 1.')
  power = optimiser.piecewise(c.power, epochs)
  still = c.sampler == 'power' and not optimiser.is_ever_on(lambda t: power(t) != 1, epochs)
  if still or (c.sampler == 'progressive' and epochs < 2):
    other = f', or another --config.{key}.power' * (c.sampler == 'power')
    raise UserError(
      f'The sampler {c.sampler} of stream {name} would never be active in {epochs} epochs; set '
      f'more --config.epochs{other}.'
    )
  options = Options(c.beta, power, c.images, epochs)
  return pick(SAMPLERS, c.sampler, f'{key}.sampler')(options)


def size_of(c: ConfigDict, batch_size: int) -> int:
  """Returns how many images a stream draws in a step: ceil(rho B), or B where rho is of a gate."""
  return math.ceil(c.rho * batch_size - 1e-9) if c.gate == 'first' else batch_size


def build(c: ConfigDict, name: str, batch_size: int, epochs: int, score: str) -> Stream:
  """Fills a stream: its sampler, its size, its partners and how much of them is mixed in.

  Args:
    c: the stream's section.
    name: its name.
    batch_size: B.
    epochs: of the run.
    score: the signal that keeps a score matrix, '' for none.

  Raises:
    UserError: for a name or a value that is none, or a piece that would never be active.
  """
  key = f'streams.{name}'
  gate = one_of(c.gate, ('first', 'bernoulli', 'coin'), f'{key}.gate')
  if not 0 < c.rho <= 1:
    raise UserError(f'--config.{key}.rho={c.rho} is not in (0, 1]; it is a share of the batch.')
  start = one_of(c.start, ('on', 'skip'), f'{key}.start')
  if name == 'natural' and (start == 'skip' or (gate == 'coin' and c.rho < 1)):
    raise UserError(
      f'--config.{key} cannot be off in a step: the natural view is always trained; use '
      f'--config.{key}.gate=first and start=on, or a stream of another name.'
    )
  has_partner = c.partner != 'none'
  reads_score = has_partner and 'score' in (c.partner, c.lam)
  if reads_score and not score:
    raise UserError(f'--config.{key} reads a score matrix, but no signal keeps one; use fass.')
  for bound in ('lambda_min', 'lam_value'):
    if not 0 <= c[bound] <= 1:
      raise UserError(f'--config.{key}.{bound}={c[bound]} is not in [0, 1].')
  if c.lam_alpha <= 0:
    raise UserError(f'--config.{key}.lam_alpha={c.lam_alpha} is not above 0.')
  lam = one_of(c.lam, partners.RATIOS, f'{key}.lam')
  chance = optimiser.piecewise(c.chance, epochs)
  if not optimiser.is_ever_on(chance, epochs):
    raise UserError(
      f'The mixing of stream {name} would never be active in {epochs} epochs; set more '
      f'--config.epochs or another --config.{key}.chance.'
    )
  return Stream(
    sampler=_sampler(c, name, epochs),
    size=size_of(c, batch_size),
    mix_share=c.rho if gate == 'bernoulli' else 1.0,
    on_share=c.rho if gate == 'coin' else 1.0,
    off_in_first_epoch=start == 'skip',
    partner=pick(partners.PARTNERS, c.partner, f'{key}.partner') if has_partner else None,
    ratio=partners.build_ratio(lam, c.lam_alpha, c.lam_value, c.lambda_min),
    chance=chance,
    shared=c.shared,
    score=score if reads_score else '',
  )
