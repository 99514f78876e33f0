"""From streams of image positions to the views of a step, and the views through the network."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fass_jax.nets import fold_statistics
from fass_jax.nets.base import apply
from fass_jax.recipe import Recipe
from fass_jax.types import Array, Classes, Outputs, PyTree, Squares, Targets, Time, View


class Store(NamedTuple):
  """What a step reads and leaves as it is: the training set, and a teacher."""

  images: Array | Squares | None  # uint8 [N, H, W, 3]; None: a step's pixels come with it
  labels: Array  # int32 [N]
  classes: Classes
  teacher: PyTree = None  # params and batch_stats of the network that teaches, constants
  pixels: dict[str, Array] = {}  # of one step, by `pixel_site`: uint8 [n or more, H, W, 3]


class Batch(NamedTuple):
  """What a stream drew."""

  index: Array  # type: ignore[assignment]  # int32 [n]
  labels: Array  # int32 [n]
  mask: Array  # bool [n], False: left out of losses, scores and counts


class Input(NamedTuple):
  """A view as it enters the network."""

  x: Array  # float32 [n, H, W, 3]
  targets: Targets
  mask: Array  # bool [n]
  labels: Array  # int32 [n], the own class
  lam: Array  # float32 [n], the share of the own image that was asked for
  lam_real: Array  # float32 [n], the share that came out


# by stream, and by stream and role of a partner: (index, mask), both [steps, n]
Plan = dict[str, tuple[Array, Array]]


def site(key: Array, name: str) -> Array:
  """Folds the name of a consumer into a key, so that adding one moves no other's draws."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def draw_streams(
  recipe: Recipe, names: set[str], key: Array, t: Time, store: Store, plan: Plan
) -> dict[str, Batch]:
  """Draws the streams that are on; 'natural' always comes first."""
  row = t.step % recipe.steps_per_epoch
  batches: dict[str, Batch] = {}
  for name, stream in recipe.streams.items():
    if name not in names:
      continue
    mask = jnp.ones((stream.size,), bool)
    if name in plan:
      index, mask = (x[row] for x in plan[name])
    elif stream.sampler.scope == 'copy':
      index, mask = (x[: stream.size] for x in (batches['natural'].index, batches['natural'].mask))
    else:
      assert stream.sampler.draw is not None
      index = stream.sampler.draw(site(key, f'sampler/{name}'), store.classes, stream.size, t)
    if stream.keep < 1:
      mask &= jax.random.bernoulli(site(key, f'gate/{name}'), stream.keep, mask.shape)
    batches[name] = Batch(index, store.labels[index], mask)
  return batches


def pixel_site(view: View, role: str) -> str:
  """Names the pixels of a view's own images or partners; equal names are equal pixels."""
  return f'{view.stream}/{role}/{view.augment_name}'


def partner_role(recipe: Recipe, name: str) -> str:
  """Names whose partners a view takes: those of its stream, or its own."""
  return 'partner' if recipe.streams[recipe.views[name].stream].shared else f'partner/{name}'


def draw_partner(
  recipe: Recipe, name: str, batch: Batch, key: Array, signals: dict[str, Any], store: Store
) -> Array:
  """Draws the partners of a view that mixes: positions, int32 `[n]`."""
  view = recipe.views[name]
  stream = recipe.streams[view.stream]
  assert stream.partner is not None
  matrix = signals[stream.score].matrix if stream.score else None
  partner_key = site(key, f'{partner_role(recipe, name)}/{view.stream}')
  return stream.partner(partner_key, batch.index, batch.labels, matrix, store.classes)


def take(recipe: Recipe, store: Store, index: Array, name: str) -> tuple[Array, dict[str, Array]]:
  """Returns the stored images at `index [n]`, spread over the devices, and the aspect of squares.

  Args:
    recipe: static.
    store: where the images are; `name` is looked for in the pixels of the step.
    index: positions.
    name: of `pixel_site`.

  Returns:
    uint8 `[n, H, W, 3]`, and what the op that cuts squares asks for.
  """
  spread = recipe.where.spread
  if name in store.pixels:
    return spread(store.pixels[name][: index.shape[0]]), {}
  if isinstance(store.images, Squares):
    return spread(store.images.images[index]), {'resized_crop': store.images.aspect[index]}
  assert store.images is not None, f'the pixels of {name} were not loaded'
  return spread(store.images[index]), {}


def build_view(
  recipe: Recipe, name: str, batch: Batch, key: Array, signals: dict[str, Any], t: Time,
  store: Store, plan: Plan,
) -> Input:  # fmt: skip
  """Loads, augments, normalises and mixes one view.

  Views of one stream with the same augmentation fold the same names into the key, so they see
  the same pixels (the compiler loads them once).
  """
  view = recipe.views[name]
  stream = recipe.streams[view.stream]
  full = jnp.ones(batch.labels.shape, float)

  def load(index: Array, role: str) -> Array:
    load_key = site(key, f'augment/{pixel_site(view, role)}')
    images, aspect = take(recipe, store, index, pixel_site(view, role))
    strengths = aspect | {
      s.op: s.strength(signals[n], site(load_key, f'strength/{s.op}'), store.labels[index])
      for n, s in recipe.signals.items()
      if s.strength is not None
    }
    return recipe.where.spread(recipe.normalise(view.augment(load_key, images, strengths)))

  x = load(batch.index, 'own')
  if view.mix is None:
    targets = Targets(batch.labels, batch.labels, full)
    return Input(x, targets, batch.mask, batch.labels, full, full)
  assert stream.ratio is not None and view.label is not None
  matrix = signals[stream.score].matrix if stream.score else None
  role = partner_role(recipe, name)
  planned = plan.get(f'{view.stream}/{role}')
  if planned is None:
    partner = draw_partner(recipe, name, batch, key, signals, store)
  else:
    partner = planned[0][t.step % recipe.steps_per_epoch]
  labels_t = store.labels[partner]
  ratio_key = site(key, f'ratio/{view.stream}')
  lam = stream.ratio(ratio_key, matrix, batch.labels, labels_t)
  # one coin for all views of the stream; where it is off, a mix returns the own image
  on = jax.random.bernoulli(site(key, f'chance/{view.stream}'), stream.chance(t))
  lam = jnp.where(on, lam, 1.0)
  mixed, lam_real = view.mix(site(key, f'mix/{name}'), x, load(partner, role), lam)
  targets = Targets(*view.label(batch.labels, labels_t, lam_real))
  mixed = recipe.where.spread(mixed)
  return Input(mixed, targets, batch.mask, batch.labels, lam, lam_real)


def forward(
  recipe: Recipe, params: PyTree, stats: PyTree, inputs: dict[str, Input]
) -> tuple[dict[str, Outputs], PyTree]:
  """Runs every group of views through the network, its running statistics group after group.

  With `recipe.vmapped`, groups of equal shape are one pass over a batch of groups: every group
  keeps its own batch statistics, and the running ones come out as after separate passes.
  """
  groups: dict[str, list[str]] = {}
  for name in inputs:
    groups.setdefault(recipe.views[name].group, []).append(name)
  x = {
    g: jnp.concatenate([inputs[n].x for n in names]) if len(names) > 1 else inputs[names[0]].x
    for g, names in groups.items()
  }
  passed = (_vmapped if recipe.vmapped else _separately)(recipe, params, stats, x)
  outs: dict[str, Outputs] = {}
  for g, names in groups.items():
    out, start = passed[0][g], 0
    for n in names:
      rows = slice(start, start + inputs[n].x.shape[0])
      outs[n] = _by_row(lambda x, rows=rows: x[rows], out)
      start = rows.stop
  return outs, passed[1]


def _by_row(function: Callable[..., Array], *outs: Outputs) -> Outputs:
  """Applies a function to the fields that have a row an image; `extra` is that of the first."""
  bare = [o._replace(extra={}) for o in outs]
  return jax.tree.map(function, *bare)._replace(extra=outs[0].extra)


def lessons(recipe: Recipe, inputs: dict[str, Input], store: Store) -> dict[str, Array]:
  """Shows the teacher the views of the terms that ask for one, in evaluation mode.

  Returns:
    By view, the mean logits of its experts `[n, C]`; nothing where no term asks.
  """
  asked = [v for term in recipe.terms.values() if term.taught for v in term.views]
  told = {}
  for name in dict.fromkeys(v for v in asked if v in inputs):
    assert recipe.teacher is not None, 'the recipe was built without its teacher'
    told[name] = apply(recipe.teacher, store.teacher, inputs[name].x, False)[0].logits.mean(axis=1)
  return told


def join(outs: Sequence[Outputs], inputs: Sequence[Input]) -> tuple[Outputs, Targets, Array]:
  """Makes one batch of several views, for a loss that compares them.

  Returns:
    Outputs with the rows of all views and their mask as `extra['mask']` (fillers must not be
    compared with); the pair targets of all rows, of the own label alone where a view has only
    that; the mask.
  """
  mask = jnp.concatenate([x.mask for x in inputs])
  targets = jax.tree.map(lambda *rows: jnp.concatenate(rows), *(x.targets for x in inputs))
  joined = _by_row(lambda *rows: jnp.concatenate(rows), *outs)
  return joined._replace(extra={**outs[0].extra, 'mask': mask}), targets, mask


def _separately(
  recipe: Recipe, params: PyTree, stats: PyTree, x: dict[str, Array]
) -> tuple[dict[str, Outputs], PyTree]:
  outs = {}
  for g, images in x.items():
    outs[g], stats = apply(recipe.net, {'params': params, 'batch_stats': stats}, images, True)
  return outs, stats


def _vmapped(
  recipe: Recipe, params: PyTree, stats: PyTree, x: dict[str, Array]
) -> tuple[dict[str, Outputs], PyTree]:
  def one(images: Array) -> tuple[Outputs, PyTree]:
    return apply(recipe.net, {'params': params, 'batch_stats': stats}, images, True)

  by_shape: dict[Any, list[str]] = {}
  for g, images in x.items():
    by_shape.setdefault(images.shape, []).append(g)
  passed: dict[str, tuple[Outputs, PyTree]] = {}
  for names in by_shape.values():
    if len(names) == 1:
      passed[names[0]] = one(x[names[0]])
      continue
    stacked = jax.vmap(one)(jnp.stack([x[g] for g in names]))
    for i, g in enumerate(names):
      passed[g] = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
  return (
    {g: passed[g][0] for g in x},
    fold_statistics(stats, [passed[g][1] for g in x]),
  )
