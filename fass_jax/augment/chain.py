"""Combines named ops into a chain, in the order of the table `OPS`."""

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
from fass_jax.augment.policies import autoaugment, blur, rand_augment, rotation15, simclr
from fass_jax.augment.resized_crop import resized_crop
from fass_jax.types import Array

Op = Callable[[Array, Array, Any], Array]

# ops run in this order, whatever their order in a config
OPS: dict[str, Op] = {
  'resized_crop': resized_crop(),  # replaces crop; its strength is the original's aspect ratio
  'cam': cam(),  # `made_for` gives it a network; its strength is a Sight
  'crop': random_crop,
  'flip': random_flip,
  'simclr': simclr,  # replaces crop and flip
  'blur': blur,
  'jitter': jitter,
  'rotation15': rotation15,
  'autoaugment': autoaugment,
  'randaugment': rand_augment(),
  'cuda': cuda,
  'doda': doda,
  'cutout': cutout,
}


# ops that take rows [B, F] too; all others need images
ROWS: tuple[str, ...] = ()
# ops that crop a stored square; their strength is the original's aspect ratio
CUT = ('resized_crop',)
# ops that need a trained network's activation maps; their strength is a Sight
LOOK = ('cam',)


def cuts(names: Iterable[str]) -> bool:
  """Returns True if one of the ops crops a stored square."""
  return any(name in CUT for name in names)


def looks(names: Iterable[str]) -> str:
  """Returns the first op that needs a trained network, or ''."""
  return next((name for name in names if name in LOOK), '')


def needs_images(names: Iterable[str]) -> str:
  """Returns the first op that cannot be applied to rows `[B, F]`, or ''."""
  return next((name for name in names if name not in ROWS), '')


def whole(names: Iterable[str]) -> tuple[str, ...]:
  """Returns the ops that do not crop a stored square."""
  return tuple(name for name in names if name not in CUT)


def made_for(
  activation_map: ActivationMap | None, cut: Callable[..., Any] | None = None
) -> dict[str, Op]:
  """Returns the ops that depend on the run: those with a network, and those that crop squares."""
  made: dict[str, Op] = {name: cam(activation_map) for name in LOOK}
  return made if cut is None else made | dict.fromkeys(CUT, cut)


def asked(aspect: Array | None = None, sight: Sight | None = None) -> dict[str, Any]:
  """Returns the strengths of the ops that need an image's aspect ratio or a network.

  Args:
    aspect: float `[B]`, width / height of the originals of squares.
    sight: the inputs of the op `cam`.
  """
  found: dict[str, Any] = {} if sight is None else dict.fromkeys(LOOK, sight)
  return found if aspect is None else found | dict.fromkeys(CUT, aspect)


def aspect_of(strengths: Mapping[str, Any]) -> Array:
  """Returns the aspect ratios among the strengths of `asked`, `[B]`."""
  return strengths[CUT[0]]


def build(
  names: Sequence[str], made: Mapping[str, Op] = MappingProxyType({})
) -> Callable[[Array, Array, Mapping[str, Any]], Array]:
  """Returns `(key, images, {op: strength [B]}) -> images`, which applies the named ops in order.

  Each op folds its name into the key, so that adding an op does not change the draws of the others.
  The default strength is 1.

  Args:
    names: keys of `OPS`.
    made: ops that replace those of `OPS`, see `made_for`.
  """

  def augment(key: Array, images: Array, strengths: Mapping[str, Any]) -> Array:
    full = jnp.ones(images.shape[:1], jnp.float32)
    for name, op in OPS.items():
      if name in names:
        own = jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
        images = made.get(name, op)(own, images, strengths.get(name, full))
    return images

  return augment
