"""Samplers, partners and mixing ratios by name, with their effect on the class prior.

To add one, add a function in `samplers.py` or `partners.py` and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fass_jax.sampling.partners import (
  batch_partner,
  beta_ratio,
  class_uniform_partner,
  fixed_ratio,
  keep_confused,
  keep_majority,
  random_partner,
  reversed_partner,
  score_drawn_partner,
  score_partner,
  score_ratio,
)
from fass_jax.sampling.samplers import (
  draw_by_weight,
  draw_groups,
  permutation_plan,
  power_plan,
  power_weight,
  progressive_weight,
  rebalanced_weight,
)
from fass_jax.types import Array, Classes, Sampler, Time


class Options(NamedTuple):
  """The parameters of a sampler: values of its stream, and the epochs of the run."""

  beta: float = 0.0  # beta of the effective number; 0 means (N - 1) / N
  power: Callable[[Time], Array] = lambda t: jnp.ones(())
  powers: tuple[float, ...] = (1.0,)  # the values of `power`, in the order of time
  images: int = 2  # K, images per class in a P x K batch
  epochs: int = 1


# (predicate of the time) -> True if the predicate is true in some epoch of the run
Ever = Callable[[Callable[[Time], Array]], bool]


class SamplerKind(NamedTuple):
  """A sampler and its properties, as listed in `SAMPLERS`."""

  build: Callable[[Options], Sampler]
  # (counts float64 [C], options) -> class shares at the end of a run, not normalised
  shares: Callable[[np.ndarray, Options], np.ndarray]
  reads: tuple[str, ...] = ()  # the keys of its stream that it reads
  # (section of the stream, schedule -> text) -> description of the parameters
  text: Callable[[Mapping[str, Any], Callable[[Any], str]], str] = lambda c, over_time: ''
  moves: Callable[[Options], bool] = lambda o: False  # True: the shares change during a run
  never: Callable[[Options, Ever], bool] = lambda o, ever: False  # True: has no effect in this run


class PartnerKind(NamedTuple):
  """A choice of partners and its properties, as listed in `PARTNERS`."""

  choose: Callable[..., Array]  # (key, index, labels, matrix, classes) -> int32 [n]
  # (class shares q [C] of the first images, counts [C]) -> shares of the partners, not normalised;
  # None: the partners have the same shares q
  shares: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
  reads_scores: bool = False  # True: needs a signal with a score matrix
  in_batch: bool = False  # True: partners are images of the same batch
  corrects_prior: bool = False  # True: corrects the class prior if labels are mixed


class RatioOptions(NamedTuple):
  """The parameters of a mixing ratio."""

  alpha: float = 1.0  # of Beta(alpha, alpha)
  value: float = 0.5  # of a fixed ratio
  minimum: float = 0.0  # of the score ratio


class RatioKind(NamedTuple):
  """A mixing ratio and its properties, as listed in `RATIOS`."""

  build: Callable[[RatioOptions], Callable[..., Array]]
  text: Callable[[RatioOptions], str]  # description of the parameters
  own: Callable[[RatioOptions], float] = lambda o: 0.5  # mean lambda, for the class prior
  reads_scores: bool = False


class KeepKind(NamedTuple):
  """A choice of the mixed images that are trained, as listed in `KEEPS`."""

  of: Callable[..., Array] | None  # (key, matrix, labels, lam) -> bool [n]; None: all
  reads_scores: bool = False


def _by_weight(weight: Callable[[Classes, Time, Options], Array]) -> Callable[[Options], Sampler]:
  """Returns the builder of a sampler from a function that returns class weights."""

  def build(o: Options) -> Sampler:
    def draw(key: Array, classes: Classes, n: int, t: Time) -> Array:
      return draw_by_weight(key, classes, weight(classes, t, o), n)

    return Sampler('step', draw)

  return build


def _power(o: Options) -> Sampler:
  def draw(key: Array, classes: Classes, epoch: Array, steps: int, n: int) -> tuple[Array, Array]:
    q = o.power(Time(epoch * steps, epoch, epoch / o.epochs))
    return power_plan(key, classes, epoch, steps, n, q)

  return Sampler('epoch', draw)


def _groups(o: Options) -> Sampler:
  return Sampler('step', lambda key, classes, n, t: draw_groups(key, classes, n, o.images))


def _effective(unit: str) -> SamplerKind:
  def shares(counts: np.ndarray, o: Options) -> np.ndarray:
    # `rebalanced_weight` reads only the counts and the number of images
    classes = Classes(counts, counts, np.zeros(int(counts.sum())))  # type: ignore[arg-type]
    return np.asarray(rebalanced_weight(classes, unit, o.beta), np.float64)

  return SamplerKind(
    _by_weight(lambda c, t, o: rebalanced_weight(c, unit, o.beta)),
    shares,
    ('beta',),
    lambda c, over_time: f' of beta {c["beta"]:g}' if c['beta'] else ' of beta (N - 1) / N',
  )


def _uniform(counts: np.ndarray, o: Options) -> np.ndarray:
  return np.ones(len(counts))


SAMPLERS: dict[str, SamplerKind] = {
  'permutation': SamplerKind(lambda o: Sampler('epoch', permutation_plan), lambda n, o: n),
  'class_balanced': SamplerKind(_by_weight(lambda c, t, o: jnp.ones(c.count.shape)), _uniform),
  'square_root': SamplerKind(
    _by_weight(lambda c, t, o: power_weight(c.count, 0.5)), lambda n, o: n**0.5
  ),
  'reversed': SamplerKind(
    _by_weight(lambda c, t, o: power_weight(c.count, -1.0)), lambda n, o: n**-1.0
  ),
  'power': SamplerKind(
    _power,
    lambda n, o: n ** o.powers[-1],
    ('power',),
    lambda c, over_time: f' n^q, q {over_time(c["power"])}',
    moves=lambda o: len(set(o.powers)) > 1,
    never=lambda o, ever: not ever(lambda t: o.power(t) != 1),
  ),
  'progressive': SamplerKind(
    _by_weight(lambda c, t, o: progressive_weight(c.count, t.epoch / max(o.epochs - 1, 1))),
    _uniform,
    moves=lambda o: True,
    never=lambda o, ever: o.epochs < 2,
  ),
  'effective_number': _effective('sample'),
  'effective_number_class': _effective('class'),
  'groups': SamplerKind(
    _groups, _uniform, ('images',), lambda c, over_time: f' of {c["images"]} per class'
  ),
  'natural': SamplerKind(lambda o: Sampler('copy'), lambda n, o: n),
}

PARTNERS: dict[str, PartnerKind] = {
  'score': PartnerKind(score_partner, reads_scores=True),
  'score_drawn': PartnerKind(score_drawn_partner, reads_scores=True),
  'random': PartnerKind(random_partner, lambda q, n: 1 - q),  # uniform over the other classes
  'class_uniform': PartnerKind(class_uniform_partner, lambda q, n: np.ones(len(n))),
  'reversed': PartnerKind(reversed_partner, lambda q, n: 1 / n, corrects_prior=True),
  'permutation': PartnerKind(batch_partner, in_batch=True),
}

RATIOS: dict[str, RatioKind] = {
  'score': RatioKind(
    lambda o: score_ratio(o.minimum),
    lambda o: f'at least {o.minimum:g}' if o.minimum else '',
    reads_scores=True,
  ),
  'beta': RatioKind(lambda o: beta_ratio(o.alpha), lambda o: f'alpha {o.alpha:g}'),
  'batch_beta': RatioKind(
    lambda o: beta_ratio(o.alpha, per_batch=True), lambda o: f'alpha {o.alpha:g}'
  ),
  'fixed': RatioKind(
    lambda o: fixed_ratio(o.value), lambda o: f'{o.value:g}', own=lambda o: o.value
  ),
}

KEEPS: dict[str, KeepKind] = {
  'all': KeepKind(None),
  'confused': KeepKind(keep_confused, reads_scores=True),
  'majority': KeepKind(keep_majority),
}
