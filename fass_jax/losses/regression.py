"""Losses of a run that predicts numbers, in the signature of the train step.

The network's output is in standard deviations of the training values. The parameters of a loss are
in the unit of the label; its value is divided by the standard deviation, or its square for squared
errors, so that one learning rate suits every unit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax.numpy as jnp

from fass_jax.losses.kinds import Kind, Loss, Use
from fass_jax.regression import losses as pure
from fass_jax.types import Array, Context, Examples, Outputs

_TASKS = ('regression',)
NOISE = 'noise'  # the parameter of a head that learns the noise of the labels


def in_unit(outs: Outputs, context: Context) -> tuple[Array, Array]:
  """Returns the predictions in the unit of the label, `[B]`, and the standard deviation."""
  assert context.classes.scale is not None, 'the labels of this run are classes'
  mean, spread = context.classes.scale[0], context.classes.scale[1]
  return mean + spread * jnp.asarray(outs.logits.mean(axis=1)[:, 0], float), spread


def of_errors(function: Callable[[Array], Array], power: int) -> Loss:
  """Wraps a function of the error `[B]` -> `[B]` as a loss.

  Args:
    function: in the unit of the label.
    power: of that unit in its values.
  """

  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    predictions, spread = in_unit(outs, context)
    assert examples.targets.value is not None, 'the labels are no numbers'
    values = function(predictions - examples.targets.value) / spread**power
    return values, jnp.ones_like(values)

  return loss


def _balanced(noise: float, rate: float) -> tuple[Loss]:
  def loss(outs: Outputs, examples: Examples, context: Context) -> tuple[Array, Array]:
    predictions, spread = in_unit(outs, context)
    # exp keeps it above 0; the factor is its own learning rate, by its square
    s = noise * jnp.exp(rate * outs.extra[NOISE]) if rate else jnp.asarray(noise, float)
    assert examples.targets.value is not None, 'the labels are no numbers'
    rows = pure.balanced_mse_rows(predictions, examples.targets.value, s, examples.mask)
    return rows / spread**2, jnp.ones_like(rows)

  return (loss,)


def _needs_noise(use: Use) -> str:
  """Returns a message unless the head has the noise that the loss reads."""
  if use.config.loss_args.balanced_mse.rate == 0 or use.config.net.head == 'linear_noise':
    return ''
  return (
    f'{use.name} learns the noise of the labels: set --config.net.head=linear_noise, or '
    '--config.loss_args.balanced_mse.rate=0 for a fixed noise.'
  )


def _args(loss: str, *names: str) -> dict[str, str]:
  return {name: f'loss_args.{loss}.{name}' for name in names}


def _of(function: Callable[..., Array], power: int, name: str = '', *parameters: str) -> Kind:
  return Kind(
    lambda **how: (of_errors(functools.partial(function, **how), power),),
    _args(name, *parameters),
    tasks=_TASKS,
  )


LOSSES: dict[str, Kind] = {
  'l1': _of(pure.l1, 1),
  'mse': _of(pure.mse, 2),
  'huber': _of(pure.huber, 1, 'huber', 'beta'),
  'focal_l1': _of(pure.focal_l1, 1, 'focal_l1', 'beta', 'gamma'),
  'focal_mse': _of(pure.focal_mse, 2, 'focal_mse', 'beta', 'gamma'),
  'balanced_mse': Kind(
    _balanced,
    _args('balanced_mse', 'noise', 'rate'),
    refuses=(_needs_noise,),
    corrects_prior=True,
    tasks=_TASKS,
  ),
}
