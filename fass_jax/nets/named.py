"""Builds and describes the network of a config's section `net`."""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict

from fass_jax import nets
from fass_jax.nets.base import BACKBONES, SCALED
from fass_jax.nets.inputs import input_of
from fass_jax.types import UserError


def describe_network(net: ConfigDict) -> str:
  """Returns a description of a section `net` for the recipe's printout."""
  sizes = ', '.join(f'{key} {net[key]}' for key in input_of(net.backbone).sizes)
  text = f'{net.backbone}, {sizes}, {net.head} head'
  if net.head in SCALED:
    text += f' of scale {net.scale:g}'
  if net.experts > 1:
    text += f', {net.experts} experts' + (' with 3/4 of the channels' if net.reduced else '')
    text += ', each with its own last block' * (net.branch == 'block')
  text += ', a learned scale per class' * net.class_scale
  return text + (f', projection to {net.projection}' if net.projection else '')


def check_input(backbone: str, shape: Sequence[int], data: str) -> None:
  """Checks that a backbone takes the examples of a data set.

  Args:
    backbone: a key of `BACKBONES`.
    shape: of an example.
    data: name of the data set.

  Raises:
    UserError: for images where the backbone takes rows, or rows where it takes images.
  """
  if input_of(backbone).axes == len(shape):
    return
  other = ' or '.join(name for name in BACKBONES if input_of(name).axes == len(shape))
  rows, images = f'rows of {shape[0]} numbers', 'images'
  takes, given = (images, rows) if len(shape) == 1 else ('rows of numbers', images)
  raise UserError(
    f'--config.net.backbone={backbone} takes {takes}, but the examples of {data} are {given}; use '
    f'--config.net.backbone={other}.'
  )


def network(
  net: ConfigDict, engine: ConfigDict, num_classes: int, moving: tuple[str, ...] = ()
) -> nets.Network:
  """Builds the network of the sections `net` and `engine`.

  Args:
    net: the section `net` of a config.
    engine: the section `engine`, for the precision and the implementation of convolutions.
    num_classes: C.
    moving: parts with batch normalisation in training mode; () means all, see `nets.build`.

  Raises:
    UserError: for a depth that the family does not have, or pieces that do not fit together.
  """
  return nets.build(
    net.backbone,
    net.depth,
    net.head,
    net.scale,
    num_classes,
    hidden=tuple(net.hidden),
    experts=net.experts,
    reduced=net.reduced,
    branch=net.branch,
    class_scale=net.class_scale,
    projection=net.projection,
    router=net.router,
    precision=engine.precision,
    convolution=engine.convolution,
    moving=moving,
  )
