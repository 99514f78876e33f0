"""Decodes batches of images while the device works, for training steps or in order.

The images of all steps are planned before the epoch (`step.plan_epoch` with the signals), so the
threads can decode in advance. Each crop depends only on (seed, step, site, row). A run that is
resumed within an epoch, or on another number of devices, therefore uses the same pixels.
"""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from fass_jax.data.images import decode, streaming
from fass_jax.data.images.ahead import ahead
from fass_jax.data.images.streaming import Pending, Reader
from fass_jax.engine import devices
from fass_jax.engine.views import Plan, partner_role, pixel_site
from fass_jax.recipe.build import Recipe
from fass_jax.types import Array, Placement


class Cut(NamedTuple):
  """The parameters of random crops and of the centre crop."""

  area: tuple[float, float]  # bounds of a random crop's share of the image's area
  centre: float  # side of the centre crop as a share of the short side


def sites(recipe: Recipe, active: Sequence[str]) -> dict[str, tuple[str, bool]]:
  """Returns the images that a step loads: `{pixel_site: (key of the plan, random crop)}`."""
  found = {}
  for name in active:
    view = recipe.views[name]
    found[pixel_site(view, 'own')] = view.stream, view.random
    if view.mix is not None and not view.mixes_features:
      role = partner_role(recipe, name)
      found[pixel_site(view, role)] = f'{view.stream}/{role}', view.random
  return found


def boxes(
  cut: Cut, seed: int, step: int, site: str, at_random: bool
) -> Callable[[int], decode.Box]:
  """Returns row -> box; a random box depends only on (seed, step, site, row)."""
  if not at_random:
    middle = decode.centre(cut.centre)
    return lambda row: middle
  crc = zlib.crc32(site.encode())

  def box(row: int) -> decode.Box:
    return decode.random_box(np.random.default_rng((seed, step, crc, row)), cut.area)

  return box


def of_epoch(
  recipe: Recipe,
  reader: Reader,
  cut: Cut,
  seed: int,
  plan: Plan,
  epoch: int,
  first: int,
  active: Callable[[int], Sequence[str]],
) -> Iterator[dict[str, Pending]]:
  """Yields the pixels per step of an epoch, from step `first` on, as `{pixel_site: batch}`.

  Args:
    recipe: the recipe.
    reader: the training images.
    cut: parameters of the crops.
    seed: the seed of the run.
    plan: all image positions of the epoch.
    epoch: 0-based.
    first: the first step of the epoch that has not been done.
    active: step of the epoch -> active views.
  """
  index = {name: np.asarray(value[0]) for name, value in jax.device_get(plan).items()}
  total, where = recipe.steps_per_epoch, recipe.where

  def job(row: int) -> dict[str, Pending]:
    loads = {}
    for site, (key, at_random) in sites(recipe, active(row)).items():
      wanted = index[key][row]
      box = boxes(cut, seed, epoch * total + row, site, at_random)
      n = devices.padded(len(wanted), where)
      loads[site] = streaming.begin(reader, wanted, box, devices.own_rows(n, where), n)
    return loads

  return ahead(functools.partial(job, row) for row in range(first, total))


def in_order(reader: Reader, size: int, share: float, where: Placement) -> Iterator[Array]:
  """Yields the centre crops of a set in order, in batches of `size` rows."""
  middle = decode.centre(share)
  rows = devices.own_rows(size, where)

  def job(start: int) -> dict[str, Pending]:
    index = np.arange(start, min(start + size, len(reader.pictures)))
    return {'': streaming.begin(reader, index, lambda row: middle, rows, size)}

  for loads in ahead(
    functools.partial(job, start) for start in range(0, len(reader.pictures), size)
  ):
    yield devices.batch(streaming.finish(loads['']), where)


def at_once(
  reader: Reader,
  cut: Cut,
  at_random: bool,
  where: Placement,
  seed: int,
  index: np.ndarray,
  step: int,
) -> Array:
  """Loads the images at `index` at once, for a probe between two epochs."""
  n, box = devices.padded(len(index), where), boxes(cut, seed, step, 'probe', at_random)
  pending = streaming.begin(reader, index, box, devices.own_rows(n, where), n)
  return devices.batch(streaming.finish(pending), where)


def wait(loads: dict[str, Pending], idle: Callable[[], bool]) -> float:
  """Waits until a batch is loaded and returns the seconds in which the device was idle.

  Args:
    loads: the batch.
    idle: returns True if the device has no work left.
  """
  starved, before = 0.0, time.monotonic()
  while not all(load.done() for load in loads.values()):
    was_idle = idle()
    time.sleep(0.0005)
    now = time.monotonic()
    starved, before = starved + (now - before) * was_idle, now
  return starved


def on_devices(loads: dict[str, Pending], where: Placement) -> dict[str, Array]:
  """Shards a loaded batch by rows over the devices."""
  return {site: devices.batch(streaming.finish(load), where) for site, load in loads.items()}
