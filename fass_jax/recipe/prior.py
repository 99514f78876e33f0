"""The class prior that the logits of a trained run imply.

The optimum of a cross-entropy over images whose classes come with prior pi is log p(y | x) under
pi. So what a network's logits imply follows from how its run drew, weighted and corrected classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fass_jax.augment.mixes import LABELS
from fass_jax.classifiers.prior_shift import sum_to_one
from fass_jax.config.lookup import pick
from fass_jax.losses import LOSSES
from fass_jax.recipe.streams import options_of, ratio_options
from fass_jax.recipe.terms import class_weights, loss_of, loss_parameters, views_of
from fass_jax.sampling.named import PARTNERS, RATIOS, SAMPLERS
from fass_jax.sampling.resamplers import RESAMPLERS, missing
from fass_jax.types import Implied


def _at_end(schedule: Any) -> float:
  """Returns the last value of a number or of `((when, value), ...)`."""
  return schedule if isinstance(schedule, int | float) else schedule[-1][1]


def _drawn(stream: ConfigDict, config: ConfigDict, counts: np.ndarray) -> np.ndarray:
  """Returns the class distribution of a stream at the end of the run, `[C]`."""
  kind, options = SAMPLERS[stream.sampler], options_of(stream, config.epochs)
  if kind.build(options).scope == 'copy':
    return _drawn(config.streams.natural, config, counts)
  return sum_to_one(kind.shares(counts, options))


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
  partner = PARTNERS.get(stream.partner)
  if view.mix == 'none' or not LABELS[view.label].both or not partner or not partner.shares:
    return q
  share = 1 - RATIOS[stream.lam].own(ratio_options(stream))
  share *= _longest(stream.chance, config.epochs)
  return (1 - share) * q + share * sum_to_one(partner.shares(q, counts))


def _trained_on(
  config: ConfigDict, counts: Sequence[int] | np.ndarray, guesses: dict[str, None]
) -> np.ndarray:
  """Returns the examples per class that the steps draw from, new ones included, `[C]`."""
  n, how = np.asarray(counts, np.float64), RESAMPLERS.get(config.examples.resample)
  if how is None:  # 'none'
    return n
  if not how.fills:
    guesses['a class without examples in danger has no new ones'] = None
  return n + np.bincount(missing(n.astype(int)), minlength=len(n))


def implied(
  config: ConfigDict, counts: Sequence[int] | np.ndarray, num_tested: int | None = None
) -> Implied:
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
    num_tested: the first classes are tested; None: all. The prior is that of the tested classes,
      under the condition that no auxiliary class occurs.

  Raises:
    UserError: for a loss that there is not.
  """
  guesses: dict[str, None] = {}
  n, total = _trained_on(config, counts, guesses), np.zeros(len(counts))
  streams = set()
  weights, share = class_weights(config), config.reweight.share
  for term in config.terms.values():
    loss = loss_of(term, config)
    kind = pick(LOSSES, loss, 'loss')
    effect = kind.prior(**loss_parameters(config, loss))
    if not effect.exact:
      guesses[f"the loss '{loss}' is not a plain cross-entropy"] = None
    if effect.uniform:
      total += _at_end(term.weight) / len(n)
      continue
    if kind.joint or kind.needs_teacher or kind.beside:
      continue  # no labels against logits
    for name in views_of(term):
      view = config.views[name]
      q = _labelled(view, config, n)
      if weights is not None and loss == config.loss:
        on = _at_end(share)
        q = sum_to_one(q * (1 - on + on * np.asarray(weights(n), np.float64)))
        if not isinstance(share, int | float) and len({value for _, value in share}) > 1:
          guesses['its class weights changed during the run'] = None
      stream = config.streams[view.stream]
      if SAMPLERS[stream.sampler].moves(options_of(stream, config.epochs)):
        guesses['its sampler changed during the run'] = None
      if view.mix != 'none':
        guesses['it mixes images'] = None
      streams.add(view.stream)
      total += _at_end(term.weight) * q / n**effect.removed
  if len(streams) > 1:
    guesses['it trains on several streams'] = None
  if config.optim.only:
    guesses['only a part of the network was trained'] = None
  return Implied(sum_to_one((total if total.any() else n)[:num_tested]), tuple(guesses))
