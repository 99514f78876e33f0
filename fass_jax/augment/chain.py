"""Puts named ops into one chain; the order comes from the table, not from the names' order."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.augment.cam import ActivationMap, Sight, cam
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


# ops that cut their part out of a stored image of any shape; their strength is its aspect
CUT = ('resized_crop',)
# ops that ask a trained network where it sees the class; their strength is a Sight
LOOK = ('cam',)


def cuts(names: Iterable[str]) -> bool:
  """Says whether one of the ops cuts its part out of a stored image."""
  return any(name in CUT for name in names)


def looks(names: Iterable[str]) -> str:
  """Returns the first of the ops that asks a trained network, '' for none."""
  return next((name for name in names if name in LOOK), '')


def whole(names: Iterable[str]) -> tuple[str, ...]:
  """Returns the ops without those that cut."""
  return tuple(name for name in names if name not in CUT)


def made_for(
  activation_map: ActivationMap | None, cut: Callable[..., Any] | None = None
) -> dict[str, Op]:
  """Returns the ops that are made for a run: those that look, and those that cut squares."""
  made: dict[str, Op] = {name: cam(activation_map) for name in LOOK}
  return made if cut is None else made | dict.fromkeys(CUT, cut)


def asked(aspect: Array | None = None, sight: Sight | None = None) -> dict[str, Any]:
  """Returns the strengths of the ops that ask for an image's aspect, or for a network.

  Args:
    aspect: float `[B]`, width / height of the originals of squares.
    sight: the network that looks, and at what.
  """
  found: dict[str, Any] = {} if sight is None else dict.fromkeys(LOOK, sight)
  return found if aspect is None else found | dict.fromkeys(CUT, aspect)


def aspect_of(strengths: Mapping[str, Any]) -> Array:
  """Returns the aspect that `asked` put among the strengths."""
  return strengths[CUT[0]]


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
