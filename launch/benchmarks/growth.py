"""Measures how the cost of FASS' parts grows with the classes, and that of a step with the images.

`score_cost` measures only the score matrix: the update per step, the choice of partners per step,
and the refresh per epoch, compiled as in the train step and with a donated state. The goals, as a
share of a CE step, are 2 % up to 1,000 classes and 10 % at 10,000.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax import score
from fass_jax.config.deltas import base_config, with_methods
from fass_jax.engine import programs, step, views
from fass_jax.recipe import build as recipes
from fass_jax.sampling import partners
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Array, Classes, Dataset

CLASSES = (10, 100, 1000, 10_000)
IMAGES = (10_000, 50_000, 200_000)
SPARE = 4 * 2**30  # free bytes needed from MANY classes on: matrix, sums, and a refresh of both
MANY = 5_000
BUDGET = 0.25  # seconds, the longest measurement of a part

Steps = Callable[[int], Any]  # performs n steps and returns an array to wait for


def seconds(steps: Steps, rounds: int = 3) -> float:
  """Returns the seconds per step, as the median over rounds, with fewer steps if they are slow."""
  jax.block_until_ready(steps(1))  # compiles

  def timed(n: int) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(steps(n))
    return (time.perf_counter() - begin) / n

  n = int(np.clip(BUDGET / rounds / max(timed(1), 1e-9), 1, 200))
  return float(np.median([timed(n) for _ in range(rounds)]))


def goal(num_classes: int) -> float:
  """Returns the goal for the cost of the score as a share of a CE step."""
  return 0.02 if num_classes <= 1000 else 0.1


def missing_memory(num_classes: int) -> str:
  """Returns a message if this number of classes does not fit in memory, otherwise ''."""
  if num_classes < MANY:
    return ''
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    free = stats['bytes_limit'] - stats['bytes_in_use']
  else:
    free = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  if free >= SPARE:
    return ''
  return f'{num_classes} classes need {SPARE / 2**30:.0f} GiB, but {free / 2**30:.1f} are free'


def choose(key: Array, labels: Array, matrix: Array, classes: Classes) -> tuple[Array, Array]:
  """Draws partners and lambda as in a train step: int32 `[n]`, float32 `[n]`."""
  partner_key, ratio_key = jax.random.split(key)
  partner = partners.score_partner(partner_key, labels, labels, matrix, classes)
  theirs = partner % matrix.shape[0]  # here, image i has class i mod C
  return partner, partners.score_ratio(0.0)(ratio_key, matrix, labels, theirs)


def score_cost(num_classes: int, batch: int = 128, pairs: int = 39) -> dict[str, float]:
  """Measures the parts of the score separately, on random logits.

  Args:
    num_classes: C; the two matrices need 8 C^2 bytes.
    batch: rows per `observe`.
    pairs: partners per step.

  Returns:
    Seconds: 'observe' and 'choice' (targets, partners and lambda) per step, 'refresh' per epoch,
    and 'step', the sum of the first two.
  """
  rng = np.random.default_rng(0)
  labels = jnp.asarray(rng.integers(0, num_classes, batch), jnp.int32)
  logits = jnp.asarray(rng.normal(size=(batch, num_classes)), jnp.float32)
  classes = index_classes(np.arange(2 * num_classes) % num_classes, num_classes)
  add = jax.jit(score.observe, donate_argnums=0)
  swap = jax.jit(score.refresh, donate_argnums=0)
  pick = jax.jit(choose)
  state, key = score.init_score(num_classes), jax.random.key(0)

  def observe(n: int) -> Array:
    nonlocal state
    for _ in range(n):
      state = add(state, logits, labels)
    return state.count

  def refresh(n: int) -> Array:
    nonlocal state
    for _ in range(n):
      state = swap(state)
    return state.count

  def choice(n: int) -> tuple[Array, Array]:
    for _ in range(n):
      out = pick(key, labels[:pairs], state.matrix, classes)
    return out

  cost = {'observe': seconds(observe), 'refresh': seconds(refresh), 'choice': seconds(choice)}
  return cost | {'step': cost['observe'] + cost['choice']}


def noise(num_images: int, num_classes: int, side: int) -> Dataset:
  """Returns a set of random images, where image i has class i mod C."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (num_images, side, side, 3), dtype=np.uint8)
  labels = np.arange(num_images, dtype=np.int32) % num_classes
  names = tuple(str(c) for c in range(num_classes))
  return Dataset('noise', images, labels, labels, images[:1], labels[:1], names)


def made_up(recipe: recipes.Recipe, image_shape: tuple[int, ...]) -> Any:
  """Returns a train state of small random numbers; real initial values compile more slowly."""
  rng = np.random.default_rng(0)

  def fill(leaf: jax.ShapeDtypeStruct) -> Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return jax.random.key(0)
    values = 0.05 * rng.normal(size=leaf.shape)  # integers become 0
    return jax.device_put(np.asarray(values).astype(leaf.dtype))

  init = functools.partial(step.init_state, recipe, image_shape=image_shape)
  return jax.tree.map(fill, jax.eval_shape(init, jax.random.key(0)))


class Plain:
  """Plain cross-entropy training with fass_jax."""

  def __init__(self, data: Dataset, depth: int, batch: int):
    config = with_methods(base_config('cifar100_lt'), 'ce')
    config.net.depth, config.batch_size = depth, batch
    self.recipe = recipes.build(config, data)
    self.key = jax.random.key(0)
    self.state = made_up(self.recipe, data.image_shape)
    arrays = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    self.store = views.Store(*arrays, index_classes(data.train_labels, len(data.class_names)))
    self.planner = jax.jit(functools.partial(step.plan_epoch, self.recipe))
    self.plan = self.planner(self.key, self.state.step, self.store)
    active = tuple(self.recipe.views)
    one = programs.Key((active,), 1)
    args = self.state, self.store, self.plan, None
    self.program = programs.compile_program(self.recipe, one, 1, *args)

  def steps(self, n: int) -> Array:
    """Performs n steps and returns an array to wait for."""
    for _ in range(n):
      self.state, done = self.program(self.state, self.store, self.plan, None)
    return done

  def plans(self, n: int) -> views.Plan:
    """Plans an epoch n times and returns the last plan."""
    for _ in range(n):
      plan = self.planner(self.key, self.state.step, self.store)
    return plan


def class_cost(
  sizes: Sequence[int] = CLASSES, depth: int = 32, batch: int = 128, train_s: float | None = None
) -> dict[str, dict[str, Any]]:
  """Measures the cost of the score relative to a CE train step, per number of classes.

  Args:
    sizes: numbers of classes.
    depth: depth of the ResNet, 6n + 2, trained on random 32 x 32 images.
    batch: images per step.
    train_s: seconds of a CE step, used for all numbers of classes; None: measured for each.

  Returns:
    {str(C): `score_cost`, 'ce_step' (seconds), 'share' (cost of the score per CE step), 'goal',
    and 'met' (1 if the share is within the goal), or {'skipped': reason}}.
  """
  found: dict[str, dict[str, Any]] = {}
  for num_classes in sizes:
    why = missing_memory(num_classes)
    if why:
      found[str(num_classes)] = {'skipped': why}
      continue
    cost = score_cost(num_classes, batch)
    train = train_s
    if train is None:
      train = seconds(Plain(noise(max(num_classes, 1024), num_classes, 32), depth, batch).steps)
    share = cost['step'] / train
    found[str(num_classes)] = cost | {
      'ce_step': train,
      'share': share,
      'goal': goal(num_classes),
      'met': float(share <= goal(num_classes)),
    }
  return found


def set_cost(
  sizes: Sequence[int] = IMAGES, depth: int = 8, batch: int = 128, side: int = 8
) -> dict[str, dict[str, float]]:
  """Measures a train step and the plan of an epoch over the size of the training set, 100 classes.

  The network and the images are small, so that a cost proportional to the set would be visible.

  Args:
    sizes: numbers of training images N.
    depth: depth of the ResNet, 6n + 2.
    batch: images per step.
    side: height and width of an image.

  Returns:
    {str(N): seconds of a 'step', of a 'plan', and 'plan_per_step' = plan / steps per epoch}.
  """
  found = {}
  for size in sizes:
    run = Plain(noise(size, 100, side), depth, batch)
    plan = seconds(run.plans)
    found[str(size)] = {
      'step': seconds(run.steps),
      'plan': plan,
      'plan_per_step': plan / run.recipe.steps_per_epoch,
    }
  return found


def growth(
  quick: bool = False, depth: int = 32, batch: int = 128, train_s: float | None = None
) -> dict[str, Any]:
  """Returns {'classes': `class_cost`, 'images': `set_cost`}.

  Args:
    quick: True: only two sizes of the set.
    depth: depth of the ResNet for the comparison with the score.
    batch: images per step.
    train_s: see `class_cost`.
  """
  if quick:
    return {
      'classes': class_cost(CLASSES, depth, batch, train_s),
      'images': set_cost(IMAGES[::2], batch=batch),
    }
  return {'classes': class_cost(CLASSES, depth, batch), 'images': set_cost(batch=batch)}
