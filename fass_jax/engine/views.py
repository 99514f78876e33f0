"""Draws the streams of image positions and builds the views of a step from them."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fass_jax.augment import chain
from fass_jax.augment.cam import Sight, generated_share
from fass_jax.recipe.build import Recipe
from fass_jax.sampling.partners import batch_rows
from fass_jax.types import Array, Classes, PyTree, Squares, Targets, Time, View


class Store(NamedTuple):
  """The constant inputs of a step: the training set and a teacher."""

  # uint8 [N, H, W, 3], or rows, float32 [N, ...]; None: `pixels` has the images of a step
  images: Array | Squares | None
  labels: Array  # int32 [N]
  classes: Classes
  teacher: PyTree = None  # params and batch_stats of the teacher network
  there: Array | None = None  # bool [N], False: a place without an example; None: all have one
  pixels: dict[str, Array] = {}  # images of one step by `pixel_site`: uint8 [>= n, H, W, 3]
  values: Array | None = None  # float32 [N], the number to predict; None: the labels are classes


class Batch(NamedTuple):
  """The samples that a stream drew for a step."""

  index: Array  # type: ignore[assignment]  # int32 [n], image positions
  labels: Array  # int32 [n]
  mask: Array  # bool [n], False: excluded from losses, scores and counts


class Input(NamedTuple):
  """The network's input for a view."""

  x: Array  # float32 [n, H, W, 3], or rows [n, F]
  targets: Targets
  mask: Array  # bool [n]
  labels: Array  # int32 [n], classes of the first images
  lam: Array  # float32 [n], the requested share of the first image
  lam_real: Array  # float32 [n], the actual share of the first image
  rows: Array | None = None  # int32 [n], the rows to mix features with; None: no mixed features


# keys: a stream, or a stream and the role of a partner; values: (index, mask), both [steps, n]
Plan = dict[str, tuple[Array, Array]]


def site(key: Array, name: str) -> Array:
  """Folds a name into a key, so that a new name does not change the draws of other names."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def draw_streams(
  recipe: Recipe, names: set[str], key: Array, t: Time, store: Store, plan: Plan
) -> dict[str, Batch]:
  """Draws the batches of the active streams; 'natural' is always the first."""
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
    if store.there is not None:
      mask &= store.there[index]
    if stream.mix_share < 1:
      mask &= jax.random.bernoulli(site(key, f'gate/{name}'), stream.mix_share, mask.shape)
    batches[name] = Batch(index, store.labels[index], mask)
  return batches


def pixel_site(view: View, role: str) -> str:
  """Returns a name for the pixels of a view's images or partners; equal names: equal pixels."""
  return f'{view.stream}/{role}/{view.augment_name}'


def partner_role(recipe: Recipe, name: str) -> str:
  """Returns the role of a view's partners: shared by the views of the stream, or its own."""
  return 'partner' if recipe.streams[recipe.views[name].stream].shared else f'partner/{name}'


def draw_partner(
  recipe: Recipe, name: str, batch: Batch, key: Array, signals: dict[str, Any], store: Store
) -> Array:
  """Draws the partners of a mixed view: image positions, int32 `[n]`."""
  view = recipe.views[name]
  stream = recipe.streams[view.stream]
  assert stream.partner is not None
  matrix = signals[stream.score].matrix if stream.score else None
  partner_key = site(key, f'{partner_role(recipe, name)}/{view.stream}')
  return stream.partner(partner_key, batch.index, batch.labels, matrix, store.classes)


def take(recipe: Recipe, store: Store, index: Array, name: str) -> tuple[Array, dict[str, Any]]:
  """Returns the stored images at `index [n]`, sharded over the devices, and strengths of ops.

  Args:
    recipe: static.
    store: the images; if `store.pixels` has `name`, these pixels are used.
    index: image positions.
    name: a result of `pixel_site`.

  Returns:
    uint8 `[n, H, W, 3]`, or rows, float32 `[n, F]`; the strengths of ops from `chain.asked`.
  """
  spread, sight = recipe.where.spread, None
  if recipe.teacher is not None:
    labels = store.labels[index]
    sight = Sight(store.teacher, labels, generated_share(store.classes.count)[labels])
  asked = chain.asked(sight=sight)
  if name in store.pixels:
    return spread(store.pixels[name][: index.shape[0]]), asked
  if isinstance(store.images, Squares):
    asked = chain.asked(store.images.aspect[index], sight)
    return spread(store.images.images[index]), asked
  assert store.images is not None, f'the pixels of {name} were not loaded'
  return spread(store.images[index]), asked


def build_view(
  recipe: Recipe,
  name: str,
  batch: Batch,
  key: Array,
  signals: dict[str, Any],
  t: Time,
  store: Store,
  plan: Plan,
) -> Input:
  """Loads, augments, normalises and mixes one view.

  Views of a stream with the same augmentation fold the same names into the key. They therefore have
  the same pixels, which the compiler loads only once.
  """
  view = recipe.views[name]
  stream = recipe.streams[view.stream]
  full = jnp.ones(batch.labels.shape, float)

  def load(index: Array, role: str) -> Array:
    load_key = site(key, f'augment/{pixel_site(view, role)}')
    images, asked = take(recipe, store, index, pixel_site(view, role))
    strengths = asked | {
      s.op: s.strength(signals[n], site(load_key, f'strength/{s.op}'), store.labels[index])
      for n, s in recipe.signals.items()
      if s.strength is not None
    }
    return recipe.where.spread(recipe.step_input(view.augment(load_key, images, strengths)))

  x = load(batch.index, 'own')
  if view.mix is None:
    value = None if store.values is None else store.values[batch.index]
    targets = Targets(batch.labels, batch.labels, full, value)
    return Input(x, targets, batch.mask, batch.labels, full, full)
  assert stream.ratio is not None and view.label is not None
  matrix = signals[stream.score].matrix if stream.score else None
  role = partner_role(recipe, name)
  planned = plan.get(f'{view.stream}/{role}')
  rows = None
  if view.mixes_features:
    rows = batch_rows(site(key, f'{role}/{view.stream}'), batch.labels.shape[0])
    partner = batch.index[rows]
  elif planned is None:
    partner = draw_partner(recipe, name, batch, key, signals, store)
  else:
    partner = planned[0][t.step % recipe.steps_per_epoch]
  labels_t = store.labels[partner]
  ratio_key = site(key, f'ratio/{view.stream}')
  lam = stream.ratio(ratio_key, matrix, batch.labels, labels_t)
  # one coin for all views of the stream; if it is off, a mix returns the first image
  on = jax.random.bernoulli(site(key, f'chance/{view.stream}'), stream.chance(t))
  lam, mask = jnp.where(on, lam, 1.0), batch.mask
  if stream.keep is not None:
    mask &= stream.keep(site(key, f'keep/{view.stream}'), matrix, batch.labels, lam)
  mixed, lam_real = x, lam
  if not view.mixes_features:
    mixed, lam_real = view.mix(site(key, f'mix/{name}'), x, load(partner, role), lam)
  targets = Targets(*view.label(batch.labels, labels_t, lam_real))
  mixed = recipe.where.spread(mixed)
  return Input(mixed, targets, mask, batch.labels, lam, lam_real, rows)
