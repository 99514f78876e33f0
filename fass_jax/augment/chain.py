"""Puts named ops into one chain; the order comes from the table, not from the names' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from fass_jax.augment.crop_flip import random_crop, random_flip
from fass_jax.types import Array

# the order in which ops run, whatever order a config names them in
OPS: dict[str, Callable[[Array, Array, Array], Array]] = {
  'crop': random_crop,
  'flip': random_flip,
}


def build(names: Sequence[str]) -> Callable[[Array, Array, Array], Array]:
  """Returns `(key, images, strength [B]) -> images` that runs the named ops one after another.

  Every op folds its own place in `OPS` into the key, so that adding one moves no other's draws.
  """

  def augment(key: Array, images: Array, strength: Array) -> Array:
    for place, (name, op) in enumerate(OPS.items()):
      if name in names:
        images = op(jax.random.fold_in(key, place), images, strength)
    return images

  return augment
