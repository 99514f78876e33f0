"""From a config to the streams of images: samplers, partners, ratios."""

from __future__ import annotations

import math

from ml_collections import ConfigDict

from fass_jax.recipe.optimiser import is_ever_on, piecewise
from fass_jax.recipe.text import number, over_time
from fass_jax.sampling.named import KEEPS, PARTNERS, RATIOS, SAMPLERS, Options, RatioOptions
from fass_jax.types import Sampler, Stream, UserError


def options_of(c: ConfigDict, epochs: int) -> Options:
  """Returns what a stream's sampler may read.

  Args:
    c: the stream's section.
    epochs: of the run.
  """
  powers = (c.power,) if isinstance(c.power, int | float) else tuple(v for _, v in c.power)
  return Options(c.beta, piecewise(c.power, epochs), powers, c.images, epochs)


def _sampler(c: ConfigDict, name: str, epochs: int) -> tuple[Sampler, str]:
  """Returns a stream's sampler, and what a reader is told of it."""
  key = f'streams.{name}'
  kind, options = SAMPLERS[c.sampler], options_of(c, epochs)
  if kind.never(options, lambda holds: is_ever_on(holds, epochs)):
    others = ''.join(f', or another --config.{key}.{k}' for k in kind.reads)
    raise UserError(
      f'The sampler {c.sampler} of stream {name} would never be active in {epochs} epochs; set '
      f'more --config.epochs{others}.'
    )
  text = kind.text(c, lambda pairs: over_time(pairs, epochs))
  return kind.build(options), f'sampler {c.sampler}{text}'


def size_of(c: ConfigDict, batch_size: int) -> int:
  """Returns how many images a stream draws in a step: ceil(rho B), or B where rho is of a gate."""
  return math.ceil(c.rho * batch_size - 1e-9) if c.gate == 'first' else batch_size


def reads_scores(c: ConfigDict) -> bool:
  """Says whether a stream's partners, ratios or choice of mixes read a score matrix."""
  if c.partner == 'none':
    return False
  kinds = PARTNERS[c.partner], RATIOS[c.lam], KEEPS[c.keep]
  return any(kind.reads_scores for kind in kinds)


def ratio_options(c: ConfigDict) -> RatioOptions:
  """Returns what a stream's mixing ratio may read."""
  return RatioOptions(c.lam_alpha, c.lam_value, c.lambda_min)


def _check(c: ConfigDict, name: str, score: str) -> None:
  """Refuses what contradicts itself in a stream."""
  key = f'streams.{name}'
  if name == 'natural' and (c.start == 'skip' or (c.gate == 'coin' and c.rho < 1)):
    raise UserError(
      f'--config.{key} cannot be off in a step: the natural view is always trained; use '
      f'--config.{key}.gate=first and start=on, or a stream of another name.'
    )
  if c.partner == 'none' and KEEPS[c.keep].of:
    raise UserError(
      f'--config.{key}.keep={c.keep} chooses among mixed images, and this stream has no partners; '
      f'leave it out, or set --config.{key}.partner.'
    )
  if reads_scores(c) and not score:
    raise UserError(f'--config.{key} reads a score matrix, but no signal keeps one; use fass.')


def _text(c: ConfigDict, size: int, noun: str, sampler: str, epochs: int) -> str:
  """Returns what a reader is told of a stream."""
  text = f'{size} {noun} a step, {sampler}'
  if c.rho < 1:
    text += f', rho {number(c.rho)} ({c.gate})'
  if c.partner != 'none':
    detail = RATIOS[c.lam].text(ratio_options(c))
    text += f'; partner {c.partner}, lambda {c.lam}' + (f' {detail}' if detail else '')
    text += f', mixes kept: {c.keep}' if KEEPS[c.keep].of else ''
    if c.chance != ((0, 1.0),):
      text += f', mixed with probability {over_time(c.chance, epochs)}'
  return text + (', off in the first epoch' if c.start == 'skip' else '')


def build(
  c: ConfigDict, name: str, batch_size: int, epochs: int, score: str, noun: str = 'images'
) -> tuple[Stream, str]:
  """Fills a stream: its sampler, its size, its partners and how much of them is mixed in.

  Args:
    c: the stream's section.
    name: its name.
    batch_size: B.
    epochs: of the run.
    score: the signal that keeps a score matrix, '' for none.
    noun: what the examples are called, 'images' or 'rows'.

  Returns:
    The stream, and the line that says what it is.

  Raises:
    UserError: for what contradicts itself, or a piece that would never be active.
  """
  key = f'streams.{name}'
  _check(c, name, score)
  partner = PARTNERS.get(c.partner)  # None for 'none'
  chance = piecewise(c.chance, epochs)
  if not is_ever_on(chance, epochs):
    raise UserError(
      f'The mixing of stream {name} would never be active in {epochs} epochs; set more '
      f'--config.epochs or another --config.{key}.chance.'
    )
  size = size_of(c, batch_size)
  sampler, words = _sampler(c, name, epochs)
  stream = Stream(
    sampler=sampler,
    size=size,
    mix_share=c.rho if c.gate == 'bernoulli' else 1.0,
    on_share=c.rho if c.gate == 'coin' else 1.0,
    off_in_first_epoch=c.start == 'skip',
    partner=partner and partner.choose,
    ratio=RATIOS[c.lam].build(ratio_options(c)),
    chance=chance,
    shared=c.shared,
    score=score if reads_scores(c) else '',
    keep=KEEPS[c.keep].of,
  )
  return stream, _text(c, size, noun, words, epochs)
