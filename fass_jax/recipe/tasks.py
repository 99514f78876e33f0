"""What a run predicts, classes or numbers, and what belongs to one of the two alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fass_jax.classifiers import CLASSIFIERS
from fass_jax.config.deltas import method_rows
from fass_jax.data.numbers import scale_of
from fass_jax.losses import LOSSES
from fass_jax.losses.weights import CLASS_WEIGHTS
from fass_jax.nets.base import mean_logits
from fass_jax.signals import SIGNALS
from fass_jax.types import Array, Dataset, Outputs, UserError

Scale = tuple[float, float] | None  # mean and standard deviation of the training values


class Task(NamedTuple):
  """What a run predicts, as the engine needs it; what a report makes of it is in `report`."""

  name: str
  # name -> (outs, labels, values or None) -> float [B], summed over an epoch's natural view
  tally: dict[str, Callable[..., Array]]
  means: dict[str, str]  # name of a sum -> the name that its mean has in the record of an epoch
  # (outs, labels) -> bool [B]: all experts are right; None: an answer is not right or wrong
  right: Callable[[Outputs, Array], Array] | None = None
  # outs -> float [B] in the unit of the label; None: the answers are classes
  values: Callable[[Outputs], Array] | None = None


def _classification(scale: Scale) -> Task:
  del scale

  def hits(outs: Outputs, labels: Array, values: Array | None) -> Array:
    del values
    return outs.logits.mean(1).argmax(-1) == labels

  return Task(
    'classification',
    {'correct': hits},
    {'correct': 'train_top1'},
    lambda outs, labels: (outs.logits.argmax(-1) == labels[:, None]).all(axis=1),
  )


def _regression(scale: Scale) -> Task:
  mean, spread = scale or (0.0, 1.0)

  def values_of(outs: Outputs) -> Array:
    return mean + spread * jnp.asarray(mean_logits(outs)[:, 0], float)

  def errors(outs: Outputs, labels: Array, values: Array | None) -> Array:
    del labels
    assert values is not None, 'the labels are no numbers'
    return jnp.abs(jax.lax.stop_gradient(values_of(outs)) - values)

  return Task('regression', {'error': errors}, {'error': 'train_mae'}, values=values_of)


# to add a task, add a function here and a row to `report.tasks.REPORTS`
TASKS: dict[str, Callable[[Scale], Task]] = {
  'classification': _classification,
  'regression': _regression,
}


def task_of(config: ConfigDict, scale: Scale) -> Task:
  """Returns the task of a run.

  Args:
    config: reads `task`.
    scale: of the training values, see `Dataset`; None where there are classes.
  """
  return TASKS[config.task](scale)


def build(config: ConfigDict, data: Dataset) -> Task:
  """Returns the task of a run, after refusing what belongs to another.

  Raises:
    UserError: for labels of another task, or a method, loss, signal or classifier of one.
  """
  task = task_of(config, scale_of(data))
  numbers = data.train_values is not None
  if numbers != (task.values is not None):
    other = next(n for n, made in TASKS.items() if (made(None).values is not None) == numbers)
    raise UserError(
      f'--config.task={config.task}, but the labels of {data.name} are '
      f'{"numbers" if numbers else "classes"}; set --config.task={other}, and a method of it '
      f'({_methods_of(other)}).'
    )
  for what, tasks in _pieces(config):
    if task.name not in tasks:
      raise UserError(
        f'{what} is for {" and ".join(tasks)}, but this run is a {task.name}; drop one of them: '
        f'the methods of {task.name} are {_methods_of(task.name)}.'
      )
  return task


def _methods_of(task: str, most: int = 10) -> str:
  names = [name for name, row in method_rows().items() if task in row.tasks]
  return ', '.join(names[:most]) + (', ...' if len(names) > most else '')


def _pieces(config: ConfigDict) -> list[tuple[str, tuple[str, ...]]]:
  """Returns the pieces of a run that belong to some tasks: what they are called, and the tasks."""
  rows: Any = method_rows()
  losses = {config.loss if term.loss == 'host' else term.loss for term in config.terms.values()}
  kind = config.classifier
  replaced = CLASSIFIERS[kind].fitted or config.classifier_args.calibrate
  mixed = [n for n, view in config.views.items() if view.mix != 'none']
  found = [(f"The method '{n}'", rows[n].tasks) for n in config.method.split('+') if n in rows]
  found += [(f"The loss '{n}'", LOSSES[n].tasks) for n in sorted(losses)]
  found += [(f"The signal '{n}'", SIGNALS[s.kind].tasks) for n, s in config.signals.items()]
  found += [(f'--config.views.{n}.mix={config.views[n].mix}', (_FIRST,)) for n in mixed]
  if config.reweight.kind in CLASS_WEIGHTS:
    kind_of = config.reweight.kind
    found.append((f'--config.reweight.kind={kind_of}', CLASS_WEIGHTS[kind_of].tasks))
  if replaced:
    found.append((f"The classifier '{kind}' (or its calibration)", (_FIRST,)))
  if config.examples.resample != 'none' or config.examples.of != 'data':
    made = config.examples
    what = f'--config.examples.of={made.of} with examples.resample={made.resample}'
    found.append((what, (_FIRST,)))
  for key in ('auxiliary', 'open', 'open_classes'):
    if config.data[key]:
      found.append((f'--config.data.{key}={config.data[key]}', (_FIRST,)))
  return found


_FIRST = next(iter(TASKS))  # what mixes, adapts or rejects classes
