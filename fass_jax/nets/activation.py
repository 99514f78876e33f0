"""Where a network sees a class in an image."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.nets.base import Network
from fass_jax.types import Array, PyTree


def class_activation(net: Network, variables: PyTree, x: Array, labels: Array) -> Array:
  """Returns how much each place of an image speaks for its class: M(h, w) = sum_d g_d f_d(h, w).

  f are the maps before pooling and g the gradient of the class' logit in the pooled features. Of a
  linear head that is the class' row of weights, so M is the class activation map; of any other
  head it is Grad-CAM, before its max(0, M). Of several experts it is that of their mean logits.

  Args:
    net: a network that has maps.
    variables: of the network; evaluation mode.
    x: float `[B, H, W, 3]`, as the network is shown it.
    labels: int32 `[B]`.

  Returns:
    At least float32, `[B, h, w]`, h and w the size of the maps; no scale, no bias.

  Reference: Zhou, Khosla, Lapedriza, Oliva, Torralba, CVPR 2016; Selvaraju et al., ICCV 2017.
  """
  assert net.maps is not None, 'the network has no maps'
  maps = net.maps(variables, x)
  features = maps.mean(axis=(-3, -2))

  def own(features: Array) -> Array:
    logits = net.head(variables, features, False)[0].logits.mean(axis=1)
    return jnp.take_along_axis(logits, labels[:, None], axis=1).sum()

  speaks = (maps * jax.grad(own)(features)[..., None, None, :]).sum(axis=-1)
  return speaks.sum(axis=1) if speaks.ndim == 4 else speaks
