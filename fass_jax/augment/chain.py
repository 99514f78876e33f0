"""Puts named ops into one chain; the order comes from the table, not from the names' order."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from fass_jax.augment.classwise import cuda, doda
from fass_jax.augment.crop_flip import random_crop, random_flip
from fass_jax.augment.cutout import cutout
from fass_jax.augment.policies import autoaugment, rand_augment, rotation15, simclr
from fass_jax.types import Array

# the order in which ops run, whatever order a config names them in
OPS: dict[str, Callable[[Array, Array, Array], Array]] = {
  'crop': random_crop,
  'flip': random_flip,
  'simclr': simclr,  # in place of crop and flip
  'rotation15': rotation15,
  'autoaugment': autoaugment,
  'randaugment': rand_augment(),
  'cuda': cuda,
  'doda': doda,
  'cutout': cutout,
}


def build(names: Sequence[str]) -> Callable[[Array, Array, Mapping[str, Array]], Array]:
  """Returns `(key, images, {op: strength [B]}) -> images`, the named ops one after another.

  Every op folds its own name into the key, so that adding one moves no other's draws. An op
  without a strength of its own has 1.
  """

  def augment(key: Array, images: Array, strengths: Mapping[str, Array]) -> Array:
    full = jnp.ones(images.shape[:1], jnp.float32)
    for name, op in OPS.items():
      if name in names:
        own = jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
        images = op(own, images, strengths.get(name, full))
    return images

  return augment
