"""From a config's section `net` to a network."""

from __future__ import annotations

from ml_collections import ConfigDict

from fass_jax import nets
from fass_jax.config.lookup import one_of
from fass_jax.nets.base import BACKBONES, BRANCHES, HEADS, PRECISIONS, SCALED
from fass_jax.nets.convolution import CONVOLUTIONS


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
    UserError: for a name or a value that is none.
  """
  return nets.build(
    one_of(net.backbone, BACKBONES, 'net.backbone'),
    net.depth,
    one_of(net.head, HEADS, 'net.head'),
    net.scale,
    num_classes,
    experts=net.experts,
    reduced=net.reduced,
    branch=one_of(net.branch, BRANCHES, 'net.branch'),
    class_scale=net.class_scale,
    projection=net.projection,
    router=net.router,
    precision=one_of(engine.precision, PRECISIONS, 'engine.precision'),
    convolution=one_of(engine.convolution, CONVOLUTIONS, 'engine.convolution'),
    moving=moving,
  )
