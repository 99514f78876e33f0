"""Class priors at prediction: the one that trained logits imply, and the one that a user expects.

The optimum of a cross-entropy over images whose classes come with prior pi is log p(y | x) under
pi. So what a network's logits imply follows from how its run drew, weighted and corrected classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fass_jax.classifiers.prior_shift import _sum_to_one
from fass_jax.config.lookup import pick
from fass_jax.losses import LOSSES
from fass_jax.recipe.terms import class_weights, views_of
from fass_jax.sampling.samplers import rebalanced_weight
from fass_jax.types import Classes

# their optimum is known
EXACT = ('ce', 'balanced_softmax', 'logit_adjustment', 'weighted_la')
POWERS = {'square_root': 0.5, 'reversed': -1.0}
UNITS = {'effective_number': 'sample', 'effective_number_class': 'class'}


class Implied(NamedTuple):
  """The class prior that trained logits imply."""

  prior: np.ndarray  # float64 [C], > 0, sums to 1
  guesses: tuple[str, ...]  # why it is an approximation; empty where it is exact


def _at_end(schedule: Any) -> float:
  """Returns the last value of a number or of `((when, value), ...)`."""
  return schedule if isinstance(schedule, int | float) else schedule[-1][1]


def _moves(stream: ConfigDict) -> bool:
  """Says whether a stream's sampler draws otherwise at the end than at the beginning."""
  power = stream.power
  late = not isinstance(power, int | float) and len({value for _, value in power}) > 1
  return stream.sampler == 'progressive' or (stream.sampler == 'power' and late)


def _drawn(stream: ConfigDict, config: ConfigDict, counts: np.ndarray) -> np.ndarray:
  """Returns the class distribution of a stream, `[C]`."""
  if stream.sampler == 'natural':
    stream = config.streams.natural
  if stream.sampler in ('class_balanced', 'progressive', 'groups'):  # as it is at the end
    return _sum_to_one(np.ones(len(counts)))
  if stream.sampler in UNITS:
    # of the class index only the counts and the number of images are read
    classes = Classes(counts, counts, np.zeros(int(counts.sum())))  # type: ignore[arg-type]
    weight = rebalanced_weight(classes, UNITS[stream.sampler], stream.beta)
    return _sum_to_one(np.asarray(weight, np.float64))
  if stream.sampler in (*POWERS, 'power'):
    return _sum_to_one(counts ** POWERS.get(stream.sampler, _at_end(stream.power)))
  return _sum_to_one(counts)


def _longest(schedule: Any, epochs: int) -> float:
  """Returns the value of a number or of `((when, value), ...)` that held for most of a run."""
  if isinstance(schedule, int | float):
    return schedule
  whens = [w * epochs if isinstance(w, float) and w < 1 else w for w, _ in schedule] + [epochs]
  lengths = [end - start for start, end in zip(whens, whens[1:])]
  return schedule[lengths.index(max(lengths))][1]


def _labelled(view: ConfigDict, config: ConfigDict, counts: np.ndarray) -> np.ndarray:
  """Returns the class distribution of the labels of a view, `[C]`, those of partners included."""
  stream = config.streams[view.stream]
  q = _drawn(stream, config, counts)
  others = {
    'class_uniform': np.ones(len(counts)),
    'reversed': 1 / counts,
    'random': 1 - q,  # another class, all alike
  }
  if view.mix == 'none' or view.label != 'mixed' or stream.partner not in others:
    return q
  own = stream.lam_value if stream.lam == 'fixed' else 0.5
  share = (1 - own) * _longest(stream.chance, config.epochs)
  return (1 - share) * q + share * _sum_to_one(others[stream.partner])


def _removed(config: ConfigDict, loss: str) -> float:
  """Returns tau: the logits of a loss imply the prior that it saw divided by n^tau."""
  args = config.loss_args
  if loss == 'logit_adjustment':
    return args.logit_adjustment.tau
  if loss == 'two_rate':
    # between its two powers: exact where they are equal
    return (args.two_rate.tau1 + args.two_rate.tau2) / 2
  # whatever its tau, weights make up for what the margins of weighted_la leave; equalised takes out
  # most of it: to take out all once more would be worse (15.3 % for 10.3 % on two Gaussians)
  full = ('balanced_softmax', 'weighted_la', 'la_adaptive', 'equalised')
  return 1.0 if loss in full else 0.0


def implied(config: ConfigDict, counts: Sequence[int]) -> Implied:
  """Returns the class prior that the logits of a trained run imply.

  pi_c ~ sum_k a_k q_k(c) w(c) / n_c^tau over the views k of the terms: a the term's weight, q the
  class distribution of the view's labels (that of the counts n, or of a sampler, and with mixed
  labels that of the partners, for the chance of mixing that held longest), w the class weights,
  tau 1 for the balanced softmax and others that take the whole prior out, its own for logit
  adjustment, 0 for losses that leave it in; all else as it was at the end of the run. It is exact
  for cross-entropy and consistent adjustments on one stream, and an approximation where a run
  mixes images, adds margins, defers its weights or trains on several streams.

  Args:
    config: the run's.
    counts: `[C]`, training images of each class, all above 0.

  Raises:
    UserError: for a loss that there is not.
  """
  n, total = np.asarray(counts, np.float64), np.zeros(len(counts))
  guesses: dict[str, None] = {}
  streams = set()
  weights, share = class_weights(config), config.reweight.share
  for term in config.terms.values():
    loss = config.loss if term.loss == 'host' else term.loss
    kind = pick(LOSSES, loss, 'loss')
    rates = config.loss_args.two_rate
    adjusts = loss == 'two_rate' and rates.tau1 == rates.tau2
    if loss not in EXACT and not adjusts:
      guesses[f"the loss '{loss}' is not a plain cross-entropy"] = None
    if loss == 'bbn':  # its branches see n and 1 / n, and are averaged
      total += _at_end(term.weight) / len(n)
      continue
    if kind.joint or kind.needs_teacher:
      continue  # no labels against logits
    for name in views_of(term):
      view = config.views[name]
      q = _labelled(view, config, n)
      if weights is not None and loss == config.loss:
        on = _at_end(share)
        q = _sum_to_one(q * (1 - on + on * np.asarray(weights(n), np.float64)))
        if not isinstance(share, int | float) and len({value for _, value in share}) > 1:
          guesses['its class weights changed during the run'] = None
      if _moves(config.streams[view.stream]):
        guesses['its sampler changed during the run'] = None
      if view.mix != 'none':
        guesses['it mixes images'] = None
      streams.add(view.stream)
      total += _at_end(term.weight) * q / n ** _removed(config, loss)
  if len(streams) > 1:
    guesses['it trains on several streams'] = None
  if config.optim.only:
    guesses['only a part of the network was trained'] = None
  return Implied(_sum_to_one(total if total.any() else n), tuple(guesses))
