"""Passes of a network over a set in evaluation mode, with results accumulated on the device."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.data.images.streaming import Reader
from fass_jax.engine import compiler, devices, feed
from fass_jax.engine.views import take
from fass_jax.nets.base import Network, apply, mean_logits, of_tested
from fass_jax.recipe.build import Recipe
from fass_jax.recipe.images import Normaliser
from fass_jax.types import Array, Outputs, Placement, PyTree, Squares


class Eye(NamedTuple):
  """The parts of a recipe that a pass needs."""

  net: Network
  normalise: Normaliser
  show: Callable[..., Array]  # (squares, aspect) -> centre crops, as in a recipe
  where: Placement


class Fold(NamedTuple):
  """A pass over a set in evaluation mode, see `make_fold`."""

  prepare: Callable[..., None]
  run: Callable[..., PyTree]

  def __call__(self, *args: Any) -> PyTree:
    """Runs the pass and returns the accumulated result."""
    return self.run(*args)


def _tested_alone(
  outs: Outputs, labels: Array, mask: Array, num_tested: int | None
) -> tuple[Outputs, Array, Array]:
  """Leaves auxiliary classes out of outputs, labels and mask."""
  if num_tested is None or num_tested >= outs.logits.shape[-1]:
    return outs, labels, mask
  tested = labels < num_tested
  return of_tested(outs, num_tested), jnp.where(tested, labels, 0), mask & tested


def make_fold(
  recipe: Recipe | Eye,
  batch_size: int,
  read: Callable[[Outputs], Any] = mean_logits,
  share: float = 1.0,
  num_tested: int | None = None,
) -> Fold:
  """Returns `fold(observe, acc, variables, images, labels) -> acc`, a pass in evaluation mode.

  `observe(acc, logits [B, C], labels [B], mask [B]) -> acc` receives each image once, without
  augmentation and with running batch statistics. `read` selects what it receives of the network's
  outputs. There is one program per `observe` and set; it is compiled at its first use, or earlier
  by `fold.prepare` with the same arguments. Images on the device are batched there; a `Reader`
  decodes centre crops (`share` of the short side) in advance. `acc` stays on the device. With
  `num_tested`, the pass is about the first classes only: `observe` receives their logits, and a
  mask without the images of auxiliary classes, whose labels are 0.
  """
  ready: dict[Any, Callable[..., PyTree]] = {}
  where = recipe.where

  def advance(observe, size, streamed, carry, start, variables, images, labels):
    position = start + jnp.arange(size)
    mask = position < labels.shape[0]
    index = jnp.minimum(position, labels.shape[0] - 1)
    if isinstance(images, Squares):
      x = recipe.show(where.spread(images.images[index]), images.aspect[index])
    else:
      x = where.spread(images if streamed else images[index])
    outs, _ = apply(recipe.net, variables, recipe.normalise(x), False)
    outs, own, mask = _tested_alone(outs, labels[index], mask, num_tested)
    return observe(carry, read(outs), own, mask), start + size

  def prepare(observe, acc, variables, images, labels):
    size = min(batch_size, labels.shape[0])
    shown, streamed = images, isinstance(images, Reader)
    key = observe, labels.shape, streamed
    if streamed:
      size = devices.padded(size, where)
      shape = (size, images.side, images.side, 3)
      shown = jax.ShapeDtypeStruct(shape, np.uint8, sharding=where.rows)
    if key not in ready:
      step = functools.partial(advance, observe, size, streamed)
      program = jax.jit(step, out_shardings=where.whole)
      first = devices.copy(np.int32(0), where)
      args = devices.replicate(acc, where), first, variables, shown, labels
      ready[key] = program.lower(*args).compile(compiler_options=compiler.compiler_options())
    return ready[key], size

  def run(observe, acc, variables, images, labels):
    acc = devices.replicate(acc, where)
    program, size = prepare(observe, acc, variables, images, labels)
    start, total = devices.copy(np.int32(0), where), labels.shape[0]
    batches: Iterator[Any] = itertools.repeat(images)
    if isinstance(images, Reader):
      batches = feed.in_order(images, size, share, where)
    for _, shown in zip(range(-(-total // size)), batches):
      acc, start = program(acc, start, variables, shown, labels)
    return acc

  return Fold(prepare, run)


def make_probe(recipe: Recipe, batch_size: int) -> Callable[..., np.ndarray]:
  """Returns `probe(key, index, op, strengths, variables, store) -> right`, a test of some images.

  The images at `index [n]` are augmented like the natural view in training, but with the given
  strengths of one op, and classified by the network in evaluation mode. `right` is a host array,
  bool `[n]`, True if all experts are right. There is one program per op; the last batch is padded.
  If the store has no images, `pixels(index, start)` loads a batch.
  """

  where = recipe.where

  @functools.partial(jax.jit, static_argnums=0, out_shardings=where.whole)
  def one(op, key, index, strength, variables, store):
    view = recipe.views['natural']
    # switch off the ops of other signals, because the default strength is 1
    others = {s.op: jnp.zeros_like(strength) for s in recipe.signals.values() if s.op}
    images, asked = take(recipe, store, index, 'probe')
    x = recipe.normalise(view.augment(key, images, {**others, **asked, op: strength}))
    outs, _ = apply(recipe.net, variables, where.spread(x), False)
    assert recipe.task.right is not None, f'no signal of a {recipe.task.name} tests classes'
    return recipe.task.right(outs, store.labels[index])

  def probe(key, index, op, strengths, variables, store, pixels=None):
    n, right = len(index), []
    size = min(batch_size, 256)
    for start in range(0, n, size):
      rows = np.arange(start, start + size) % n
      if pixels is not None:
        store = store._replace(pixels={'probe': pixels(index[rows], start)})
      args = index[rows].astype(np.int32), strengths[rows].astype(jnp.result_type(float))
      right.append(one(op, jax.random.fold_in(key, start), *args, variables, store))
    return np.concatenate(jax.device_get(right))[:n]

  return probe
