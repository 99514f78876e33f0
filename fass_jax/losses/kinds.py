"""What a config may ask of a loss: its parameters, what it needs, what it does to the prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from fass_jax.types import Array, Classes, Outputs, Time

Loss = Callable[[Outputs, Array, Classes, dict[str, Any], Time], tuple[Array, Array]]


class Prior(NamedTuple):
  """What a loss does to the class prior pi that its labels have.

  Its logits imply pi / n^removed, n the class counts, or the uniform prior.
  """

  removed: float = 0.0
  exact: bool = False  # whether that is its optimum; False: an approximation
  uniform: bool = False  # whatever its labels are


class Use(NamedTuple):
  """A term that reads a loss."""

  name: str  # of the loss, as a message begins: "The loss 'ce'"
  term: str  # how a message names the term: '--config.terms.natural'
  host: bool  # the term reads the run's own loss
  config: ConfigDict  # of the whole run
  views: tuple[ViewOfTerm, ...]


class ViewOfTerm(NamedTuple):
  """A view that a term reads."""

  stream: str  # name of its stream
  section: ConfigDict  # of its stream
  size: int  # images that the stream draws in a step


class Kind(NamedTuple):
  """A loss as a config names it."""

  build: Callable[..., tuple[Loss, ...]]  # parameters -> parts; only the first is reweighted
  reads: dict[str, str] = {}  # parameter: the config key that holds its value
  prior: Callable[..., Prior] = lambda **parameters: Prior()  # of the same parameters
  refuses: tuple[Callable[[Use], str], ...] = ()  # each returns why it cannot be used, or ''
  corrects_prior: bool = False  # a second correction beside it is refused
  joint: bool = False  # sees all views of its term as one batch
  needs_teacher: bool = False  # reads the logits of a teacher
  beside: bool = False  # trains no classifier: it stands beside a loss that does


def needs_cosine(use: Use) -> str:
  """The margins are those of a cosine head."""
  if use.config.net.head == 'cosine' or not use.host:
    return ''
  return f'{use.name} needs --config.net.head=cosine.'


def needs_experts(use: Use) -> str:
  """The loss compares experts."""
  return '' if use.config.net.experts > 1 else f'{use.name} needs --config.net.experts=2 or more.'


def needs_embedding(use: Use) -> str:
  """The loss compares embeddings."""
  return (
    ''
    if use.config.net.projection
    else f'{use.name} needs an embedding: set --config.net.projection=128.'
  )


def needs_router(use: Use) -> str:
  """The loss trains a router."""
  return '' if use.config.net.router else f'{use.name} needs --config.net.router=True.'


def needs_two_branches(use: Use) -> str:
  """The loss moves from one branch of the network to another in the course of a run."""
  if use.config.net.experts != 2:
    return f'{use.name} blends two branches: set --config.net.experts=2.'
  if use.config.epochs < 2:
    return (
      f'The second branch of {_inside(use.name)} would never be active in 1 epoch; set '
      '--config.epochs=2 or more.'
    )
  return ''


def _inside(name: str) -> str:
  """Returns the name of a loss as it stands inside a sentence."""
  return name[0].lower() + name[1:]


def needs_whole_pair(use: Use) -> str:
  """The loss blends two views row for row."""
  sections = [view.section for view in use.views]
  if len(sections) == 2 and all(s.rho == 1 and s.start == 'on' for s in sections):
    return ''
  return (
    f'{use.term}: {_inside(use.name)} blends two views, of natural and of reversed '
    f'class frequencies, that are whole batches in every step; give two {use.term}.views whose '
    'streams have rho=1.0 and start=on.'
  )


def needs_groups(use: Use) -> str:
  """The loss compares images of a class, and classes."""
  for view in use.views:
    s = view.section
    if s.sampler == 'groups' and not 2 <= s.images < view.size:
      return (
        f'{use.term}: the range loss would never be active on stream {view.stream} of {view.size} '
        f'images a step, {s.images} of each class: it compares images of a class, and classes; set '
        f'--config.streams.{view.stream}.images to 2 or more, and below {view.size}.'
      )
  return ''
