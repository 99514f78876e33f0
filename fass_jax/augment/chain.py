"""Puts named ops into one chain; the order comes from the table, not from the names' order."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.augment.cam import cam
from fass_jax.augment.classwise import cuda, doda
from fass_jax.augment.crop_flip import random_crop, random_flip
from fass_jax.augment.cutout import cutout
from fass_jax.augment.jitter import jitter
from fass_jax.augment.policies import autoaugment, rand_augment, rotation15, simclr
from fass_jax.augment.resized_crop import resized_crop
from fass_jax.types import Array

Op = Callable[[Array, Array, Any], Array]

# the order in which ops run, whatever order a config names them in
OPS: dict[str, Op] = {
  'resized_crop': resized_crop(),  # in place of crop; its strength is the original's aspect
  'cam': cam(),  # made with the network that looks; its strength is a Sight
  'crop': random_crop,
  'flip': random_flip,
  'simclr': simclr,  # in place of crop and flip
  'jitter': jitter,
  'rotation15': rotation15,
  'autoaugment': autoaugment,
  'randaugment': rand_augment(),
  'cuda': cuda,
  'doda': doda,
  'cutout': cutout,
}


def build(
  names: Sequence[str], made: Mapping[str, Op] = MappingProxyType({})
) -> Callable[[Array, Array, Mapping[str, Any]], Array]:
  """Returns `(key, images, {op: strength [B]}) -> images`, the named ops one after another.

  Every op folds its own name into the key, so that adding one moves no other's draws. An op
  without a strength of its own has 1.

  Args:
    names: keys of `OPS`.
    made: ops in the place of those of `OPS`, made with other values.
  """

  def augment(key: Array, images: Array, strengths: Mapping[str, Any]) -> Array:
    full = jnp.ones(images.shape[:1], jnp.float32)
    for name, op in OPS.items():
      if name in names:
        own = jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
        images = made.get(name, op)(own, images, strengths.get(name, full))
    return images

  return augment
