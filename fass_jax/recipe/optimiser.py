"""Optimisers and schedules, counted in epochs or in fractions of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from fass_jax.nets import paths
from fass_jax.types import Array, PyTree, Time, UserError

Pairs = float | Sequence[tuple[float, float]]


def piecewise(pairs: Pairs, epochs: int) -> Callable[[Time], Array]:
  """Returns a step function of the epoch: the value of the last pair whose `when` has come.

  Args:
    pairs: `((when, value), ...)`; `when` is an epoch (an int) or a fraction of the run (a float
      below 1); before the first `when` the first value holds. A number alone is a constant.
    epochs: length of the run.

  Returns:
    A function of the time, float32.

  Raises:
    UserError: if `pairs` is none, or not in ascending order.
  """
  if isinstance(pairs, int | float):
    pairs = ((0, pairs),)
  if not pairs or not all(isinstance(p, tuple | list) and len(p) == 2 for p in pairs):
    raise UserError(
      f'The schedule {pairs} is no ((when, value), ...); write "((0, 1.0), (0.8, 0.1))" for 1 and, '
      'in the last fifth, .1, or "((0, 0.5),)" for .5 throughout.'
    )
  whens = [w * epochs if isinstance(w, float) and w < 1 else w for w, _ in pairs]
  if sorted(whens) != whens:
    raise UserError(f'The schedule {pairs} is not in order of time; sort its pairs.')
  values = [v for _, v in pairs]

  def schedule(t: Time) -> Array:
    # fractions of a run meet whole epochs: .8 of 200 is 160 up to rounding
    place = sum((t.epoch + 1e-6 >= w).astype(jnp.int32) for w in whens[1:])
    return jnp.asarray(values, float)[jnp.asarray(place, jnp.int32)]

  return schedule


def is_ever_on(schedule: Callable[[Time], Array], epochs: int) -> bool:
  """Returns whether a schedule is above 0 in some epoch of a run."""
  epoch = jnp.arange(epochs)
  return bool((schedule(Time(epoch, epoch, epoch / epochs)) > 0).any())


def learning_rate(
  peak: float,
  pairs: Pairs,
  warmup_epochs: float,
  warmup_fraction: float,
  epochs: int,
  curve: str = 'steps',
) -> Callable[[Time], Array]:
  """Returns lr(e) = peak * min(1, (e + 1) / W) * factor(e), constant inside an epoch e = 0, 1, ..

  With 200 epochs, W = 5 and factors 1, .01, .0001 from epochs 0, 160, 180 on, this is the
  schedule of the CIFAR-LT literature: .02, .04, .. .1, then .001, then .00001.

  Args:
    peak: the learning rate after warm-up.
    pairs: factors of the peak over time, see `piecewise`.
    warmup_epochs: W for a long run.
    warmup_fraction: W is at most this share of the run, so that a short run is the same in small.
    epochs: length of the run.
    curve: 'steps', the factors of `pairs`; 'cosine', factor(e) = (1 + cos(pi e / epochs)) / 2.
  """
  warmup = min(warmup_epochs, warmup_fraction * epochs)
  factor = piecewise(pairs, epochs) if curve == 'steps' else _cosine(epochs)

  def schedule(t: Time) -> Array:
    ramp = jnp.minimum(1.0, (t.epoch + 1.0) / max(warmup, 1e-6))
    return peak * ramp * factor(t)

  return schedule


def _cosine(epochs: int) -> Callable[[Time], Array]:
  return lambda t: 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.asarray(t.epoch, float) / epochs))


def sgd(
  momentum: float,
  weight_decay: float,
  nesterov: bool,
  only: Sequence[str] = (),
  undecayed: Sequence[str] = (),
) -> optax.GradientTransformation:
  """Returns SGD as PyTorch's, without the learning rate: g += wd * w; v = m * v + g.

  The decay reaches every parameter that trains, batch normalisation and biases too, and the
  learning rate stays outside the momentum buffer: the step applies it.

  Args:
    momentum: m.
    weight_decay: wd.
    nesterov: whether the update is g + m v instead of v.
    only: the parts that train; () is all. The others have no buffer, and what comes in for them,
      a gradient of zeros (`hold`), goes out.
    undecayed: the parts that the decay leaves out.
  """

  def within(parts: Sequence[str], yes: bool) -> Callable[[PyTree], PyTree]:
    return lambda params: paths.mapped(lambda p, _: paths.inside(p, parts) == yes, params)

  decay = optax.add_decayed_weights(weight_decay, within(undecayed, False) if undecayed else None)
  rule = optax.chain(decay, optax.trace(momentum, nesterov=nesterov))
  return optax.masked(rule, within(only, True)) if only else rule


def freeze(params: PyTree, only: Sequence[str] = ()) -> PyTree:
  """Stops the gradient of all parameters outside the parts `only`; () holds none."""
  if not only:
    return params
  return paths.mapped(lambda p, w: w if paths.inside(p, only) else jax.lax.stop_gradient(w), params)
