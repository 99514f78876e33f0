"""Class activation maps."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fass_jax.nets.base import Network
from fass_jax.types import Array, PyTree


def class_activation(net: Network, variables: PyTree, x: Array, labels: Array) -> Array:
  """Returns the class activation M(h, w) = sum_d g_d f_d(h, w).

  f are the feature maps before pooling, g is the gradient of the class's logit with respect to the
  pooled features. For a linear head g is the class's weight vector and M the class activation map
  (CAM); for other heads M is Grad-CAM before its max(0, M). With experts, the logit is their mean.

  Args:
    net: a network with feature maps.
    variables: variables of the network, which runs in evaluation mode.
    x: float `[B, H, W, 3]`, normalised images.
    labels: int32 `[B]`, the classes.

  Returns:
    float32 or float64 `[B, h, w]`, with the size of the feature maps, in units of the logits up to
    a constant.

  Reference: Zhou et al., Learning Deep Features for Discriminative Localization, arXiv:1512.04150;
  Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
  Localization, arXiv:1610.02391.
  """
  assert net.maps is not None, 'the network has no maps'
  maps = net.maps(variables, x)
  features = maps.mean(axis=(-3, -2))

  def own(features: Array) -> Array:
    logits = net.head(variables, features, False)[0].logits.mean(axis=1)
    return jnp.take_along_axis(logits, labels[:, None], axis=1).sum()

  speaks = (maps * jax.grad(own)(features)[..., None, None, :]).sum(axis=-1)
  return speaks.sum(axis=1) if speaks.ndim == 4 else speaks
