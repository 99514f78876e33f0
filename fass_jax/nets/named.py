"""From a config's section `net` to a network."""

from __future__ import annotations

from ml_collections import ConfigDict

from fass_jax import nets
from fass_jax.nets.base import SCALED


def describe_network(net: ConfigDict) -> str:
  """Returns what a reader is told of a section `net`."""
  text = f'{net.backbone}, depth {net.depth}, {net.head} head'
  if net.head in SCALED:
    text += f' of scale {net.scale:g}'
  if net.experts > 1:
    text += f', {net.experts} experts' + (' of 3/4 of the channels' if net.reduced else '')
    text += ', with a last block of their own' * (net.branch == 'block')
  text += ', a learned scale for each class' * net.class_scale
  return text + (f', projection to {net.projection}' if net.projection else '')


def network(
  net: ConfigDict, engine: ConfigDict, num_classes: int, moving: tuple[str, ...] = ()
) -> nets.Network:
  """Builds the network that the sections `net` and `engine` ask for.

  Args:
    net: a run's section.
    engine: a run's section, for the precision and the way of convolutions.
    num_classes: C.
    moving: parts whose batch normalisation trains; () is all, see `nets.build`.

  Raises:
    UserError: for a depth that the family does not have, or pieces that do not fit together.
  """
  return nets.build(
    net.backbone,
    net.depth,
    net.head,
    net.scale,
    num_classes,
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
