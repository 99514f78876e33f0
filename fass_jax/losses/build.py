"""Builds losses from their names and parameters.

A builder returns *parts*: one function for most losses, two for RIDE. Each part is reduced by its
own weighted mean, and the loss is the sum of the parts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax.numpy as jnp

from fass_jax.losses import car, concutmix, regression
from fass_jax.losses.adaptive import adaptive_adjustment
from fass_jax.losses.bbn import bbn_alpha, bbn_loss
from fass_jax.losses.contrastive import contrast
from fass_jax.losses.distillation import distillation
from fass_jax.losses.experts import ride
from fass_jax.losses.focal import focal
from fass_jax.losses.kinds import (
  Kind,
  Loss,
  Prior,
  needs_cosine,
  needs_embedding,
  needs_experts,
  needs_groups,
  needs_router,
  needs_two_branches,
  needs_whole_pair,
)
from fass_jax.losses.margins import ldam
from fass_jax.losses.prior import (
  balanced_softmax,
  equalised,
  la_adaptive,
  logit_adjustment,
  two_rate,
)
from fass_jax.losses.range_loss import range_loss
from fass_jax.losses.routing import router_loss
from fass_jax.losses.sigmoid import focal_sigmoid, sigmoid_loss
from fass_jax.losses.silencing import needs_neighbours, silenced
from fass_jax.losses.softmax import cross_entropy, label_smoothing
from fass_jax.losses.temperatures import cdt
from fass_jax.losses.weights import inverse_frequency_weights
from fass_jax.signals.confusion import Parameters
from fass_jax.types import Array, Context, Examples, Outputs, Time

Schedule = Callable[[Time], Array]


def of_logits(function: Callable[[Array, Array, Array], Array]) -> Loss:
  """Wraps `(logits [B, C], labels, counts) -> values [B]` as a loss on the experts' mean logits."""

  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    values = function(outs.logits.mean(axis=1), examples.labels, context.classes.count)
    return values, jnp.ones_like(values)

  return loss


def reweight(loss: Loss, class_weights: Callable[[Array], Array], share: Schedule) -> Loss:
  """Multiplies a loss's weights by 1 - share(t) + share(t) w_y.

  Deferred reweighting (DRW) uses a share of 0 until the last fifth of the run, and 1 from then on.

  Args:
    loss: the loss; the first axis of its values is the batch.
    class_weights: counts `[C]` -> w `[C]`, see `losses/weights.py`.
    share: time -> a number in [0, 1].
  """

  def weighted(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    values, weights = loss(outs, examples, context)
    on = share(context.time)
    own = (1.0 - on + on * class_weights(context.classes.count))[examples.labels]
    return values, weights * own.reshape(own.shape + (1,) * (weights.ndim - 1))

  return weighted


def _weighted_la(tau: float) -> tuple[Loss]:
  """Returns `prior.weighted_logit_adjustment` with separate values and weights."""
  adjusted = of_logits(lambda z, y, n: logit_adjustment(z, y, n, tau))
  alpha = functools.partial(inverse_frequency_weights, power=1.0 - tau)
  return (reweight(adjusted, alpha, lambda t: jnp.ones(())),)


def _ride(
  scale: float, max_margin: float, gamma: float, factor: float, late: Schedule
) -> tuple[Loss, Loss]:
  def part(which: int) -> Loss:
    def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
      # both parts call `ride`; under jit the compiler drops the unused half
      values = ride(
        outs.logits,
        examples.labels,
        context.classes.count,
        scale,
        max_margin,
        gamma,
        factor,
        late(context.time) > 0,
      )[which]
      return values, jnp.ones_like(values)

    return loss

  return part(0), part(1)


def _distillation(temperature: float, power: float = 1.0) -> tuple[Loss]:
  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    assert outs.teacher is not None, 'this view has no teacher logits'
    values = distillation(outs.logits.mean(axis=1), outs.teacher, temperature, power)
    return values, jnp.ones_like(values)

  return (loss,)


def _router(positive: float) -> tuple[Loss]:
  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    assert outs.route is not None, 'the network has no router'
    values = router_loss(outs.route, outs.logits, examples.labels, positive)
    return values, jnp.ones_like(values)

  return (loss,)


def _range(k: int, margin: float, intra: float, inter: float) -> tuple[Loss]:
  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    mask = jnp.asarray(examples.mask, float)
    # concatenate the experts' features
    features = outs.features.reshape(len(mask), -1)
    value = range_loss(features, examples.labels, mask, k, margin, intra, inter)
    return jnp.broadcast_to(value, mask.shape), mask

  return (loss,)


def _bbn(epochs: int) -> tuple[Loss]:
  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    values = bbn_loss(outs.logits, examples.labels, bbn_alpha(context.time.epoch, epochs))
    mask = jnp.asarray(examples.mask, float)
    # the loss blends the logits of rows i and B + i, so a mask on one applies to both
    pair = mask[: len(mask) // 2] * mask[len(mask) // 2 :]
    return values, jnp.concatenate([pair, pair])

  return (loss,)


def _reads(loss: str, *names: str) -> dict[str, str]:
  """Returns `{parameter: config key}` of a loss's own parameters."""
  return {name: f'loss_args.{loss}.{name}' for name in names}


def _takes_out(tau: float, exact: bool = True) -> Prior:
  return Prior(removed=tau, exact=exact)


LOSSES: dict[str, Kind] = {
  'ce': Kind(
    lambda: (of_logits(lambda z, y, n: cross_entropy(z, y)),), prior=lambda: Prior(exact=True)
  ),
  'ldam': Kind(
    lambda scale, max_margin: (of_logits(lambda z, y, n: ldam(z, y, n, scale, max_margin)),),
    {'scale': 'net.scale'} | _reads('ldam', 'max_margin'),
    refuses=(needs_cosine,),
  ),
  'ala': Kind(
    lambda scale: (of_logits(lambda z, y, n: adaptive_adjustment(z, y, n, scale)),),
    {'scale': 'net.scale'},
    refuses=(needs_cosine,),
  ),
  'balanced_softmax': Kind(
    lambda: (of_logits(balanced_softmax),),
    prior=lambda: _takes_out(1.0),
    corrects_prior=True,
  ),
  'logit_adjustment': Kind(
    lambda tau: (of_logits(lambda z, y, n: logit_adjustment(z, y, n, tau)),),
    _reads('logit_adjustment', 'tau'),
    prior=_takes_out,
    corrects_prior=True,
  ),
  'rectified_la': Kind(
    concutmix.rectified_la,
    _reads('rectified_la', 'tau', 'k', 'omega', 'share'),
    prior=lambda tau, **_: _takes_out(tau),
    refuses=(needs_embedding, concutmix.needs_time),
    corrects_prior=True,
    labels='pair',  # the label of a mixed image moves towards the classes that it is near
  ),
  'weighted_la': Kind(
    _weighted_la,
    _reads('weighted_la', 'tau'),
    # for every tau, the weights correct the part of the prior that the margins do not
    prior=lambda tau: _takes_out(1.0),
    corrects_prior=True,
  ),
  'neighbour_silencing': Kind(
    silenced,
    _reads('neighbour_silencing', 'silence'),
    # a silenced neighbour is too probable for the images of its neighbour
    prior=lambda silence: _takes_out(1.0, exact=silence == 1),
    refuses=(needs_neighbours,),
    corrects_prior=True,
  ),
  'two_rate': Kind(
    lambda tau1, tau2: (of_logits(lambda z, y, n: two_rate(z, y, n, tau1, tau2)),),
    _reads('two_rate', 'tau1', 'tau2'),
    # the prior removed is between tau1 and tau2
    prior=lambda tau1, tau2: _takes_out((tau1 + tau2) / 2, tau1 == tau2),
    corrects_prior=True,
  ),
  'la_adaptive': Kind(
    lambda factor: (of_logits(lambda z, y, n: la_adaptive(z, y, n, factor)),),
    _reads('la_adaptive', 'factor'),
    prior=lambda factor: _takes_out(1.0, exact=False),
    corrects_prior=True,
  ),
  'equalised': Kind(
    lambda share, below: (
      of_logits(lambda z, y, n: equalised(z, y, n, share, below / n.shape[0])),
    ),
    _reads('equalised', 'share', 'below'),
    # it removes most of the prior; a full correction on top raises the error (from 10.3 % to 15.3 %
    # on two Gaussians)
    prior=lambda share, below: _takes_out(1.0, exact=False),
    corrects_prior=True,
  ),
  'label_smoothing': Kind(
    lambda smoothing: (of_logits(lambda z, y, n: label_smoothing(z, y, smoothing)),),
    _reads('label_smoothing', 'smoothing'),
  ),
  'cdt': Kind(
    lambda gamma: (of_logits(lambda z, y, n: cdt(z, y, n, gamma)),),
    _reads('cdt', 'gamma'),
  ),
  'focal': Kind(
    lambda gamma: (of_logits(lambda z, y, n: focal(z, y, gamma)),), _reads('focal', 'gamma')
  ),
  'sigmoid': Kind(lambda: (of_logits(lambda z, y, n: sigmoid_loss(z, y)),)),
  'focal_sigmoid': Kind(
    lambda gamma, alpha: (of_logits(lambda z, y, n: focal_sigmoid(z, y, gamma, alpha or None)),),
    _reads('focal_sigmoid', 'gamma', 'alpha'),
  ),
  'ride': Kind(
    _ride,
    {
      'scale': 'net.scale',
      'max_margin': 'loss_args.ride.max_margin',
      'gamma': 'loss_args.ride.diversity',
      'factor': 'loss_args.ride.diversity_factor',
      'late': 'reweight.share',  # class temperatures start with reweighting
    },
    refuses=(needs_cosine, needs_experts),
  ),
  'balanced_contrastive': Kind(
    contrast,
    _reads('balanced_contrastive', 'temperature'),
    refuses=(needs_embedding,),
    joint=True,
    beside=True,
  ),
  'range': Kind(
    _range,
    _reads('range', 'k', 'margin', 'intra', 'inter'),
    refuses=(needs_groups,),
    joint=True,
    beside=True,
  ),
  'bbn': Kind(
    _bbn,
    {'epochs': 'epochs'},
    # the branches see class frequencies ~ n and ~ 1 / n, and their logits are averaged
    prior=lambda epochs: Prior(uniform=True),
    refuses=(needs_two_branches, needs_whole_pair),
    joint=True,
    corrects_prior=True,
  ),
  'car': Kind(
    car.penalty,
    _reads('car', 'r0', 'by')
    | {name: f'signals.{car.SIGNAL}.{name}' for name in Parameters._fields},
    refuses=(car.needs_confusion,),
    beside=True,
    labels='unmixed',  # the confusion of a batch is not linear in the label
  ),
  'distillation': Kind(
    _distillation,
    _reads('distillation', 'temperature', 'power'),
    needs_teacher=True,
  ),
  'router': Kind(_router, _reads('router', 'positive'), refuses=(needs_router,)),
  **regression.LOSSES,
}
