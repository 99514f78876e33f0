"""Describes losses to the config: parameters, requirements, effect on the class prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from fass_jax.types import Array, Context, Examples, Outputs

Loss = Callable[[Outputs, Examples, Context], tuple[Array, Array]]


class Prior(NamedTuple):
  """How a loss changes the class prior pi of its labels.

  The trained logits imply the prior pi / n^removed, with class counts n, or the uniform prior.
  """

  removed: float = 0.0  # the power of n that the loss removes
  exact: bool = False  # True: holds at the loss's optimum; False: an approximation
  uniform: bool = False  # the logits imply the uniform prior, whatever pi is


class Use(NamedTuple):
  """A term that uses a loss."""

  name: str  # the loss at the start of a message: "The loss 'ce'"
  term: str  # the term in a message: '--config.terms.natural'
  host: bool  # True: the term uses the run's own loss, --config.loss
  config: ConfigDict  # of the whole run
  views: tuple[ViewOfTerm, ...]


class ViewOfTerm(NamedTuple):
  """A view of a term."""

  stream: str  # name of the view's stream
  section: ConfigDict  # config section of the stream
  size: int  # images that the stream draws per step


class Kind(NamedTuple):
  """A loss and its requirements, as listed in `LOSSES`."""

  build: Callable[..., tuple[Loss, ...]]  # parameters -> parts; only the first is reweighted
  reads: dict[str, str] = {}  # parameter -> its config key
  prior: Callable[..., Prior] = lambda **parameters: Prior()  # takes the same parameters
  refuses: tuple[Callable[[Use], str], ...] = ()  # each returns why the use is invalid, or ''
  corrects_prior: bool = False  # a run may not combine it with another prior correction
  joint: bool = False  # takes all views of its term as one batch
  needs_teacher: bool = False  # reads a teacher's logits
  beside: bool = False  # trains no classifier, so it needs another loss that does
  labels: str = 'both'  # which labels of a mixed image it is about, see `combine.pair_loss`
  tasks: tuple[str, ...] = ('classification',)  # what a run with it can predict


def needs_cosine(use: Use) -> str:
  """Returns a message unless the head is a cosine head, which the margins assume."""
  if use.config.net.head == 'cosine' or not use.host:
    return ''
  return f'{use.name} needs --config.net.head=cosine.'


def needs_experts(use: Use) -> str:
  """Returns a message unless the network has several experts."""
  return '' if use.config.net.experts > 1 else f'{use.name} needs --config.net.experts=2 or more.'


def needs_embedding(use: Use) -> str:
  """Returns a message unless the network has a projection head."""
  return (
    ''
    if use.config.net.projection
    else f'{use.name} needs an embedding: set --config.net.projection=128.'
  )


def needs_router(use: Use) -> str:
  """Returns a message unless the network has a router."""
  return '' if use.config.net.router else f'{use.name} needs --config.net.router=True.'


def needs_two_branches(use: Use) -> str:
  """Returns a message unless the network has two branches and the run has two epochs."""
  if use.config.net.experts != 2:
    return f'{use.name} blends two branches: set --config.net.experts=2.'
  if use.config.epochs < 2:
    return (
      f'The second branch of {_inside(use.name)} would never be active in 1 epoch; set '
      '--config.epochs=2 or more.'
    )
  return ''


def _inside(name: str) -> str:
  """Returns the name of a loss for the middle of a sentence."""
  return name[0].lower() + name[1:]


def needs_whole_pair(use: Use) -> str:
  """Returns a message unless the term has two views that are whole batches in every step."""
  sections = [view.section for view in use.views]
  if len(sections) == 2 and all(s.rho == 1 and s.start == 'on' for s in sections):
    return ''
  return (
    f'{use.term}: {_inside(use.name)} blends two whole batches in every step, one with natural and '
    f'one with reversed class frequencies; give two {use.term}.views whose streams have rho=1.0 '
    'and start=on.'
  )


def needs_groups(use: Use) -> str:
  """Returns a message unless batches have several images of several classes."""
  for view in use.views:
    s = view.section
    if s.sampler == 'groups' and not 2 <= s.images < view.size:
      return (
        f'{use.term}: the range loss would never be active on stream {view.stream} with '
        f'{view.size} images per step and {s.images} per class: it needs pairs of one class and '
        f'several classes; set --config.streams.{view.stream}.images to 2 or more, and below '
        f'{view.size}.'
      )
  return ''
