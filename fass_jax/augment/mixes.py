"""Mixes of two images and labels of mixed images, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fass_jax import mixing
from fass_jax.types import Array


class Mix(NamedTuple):
  """A mix of two images, rows or features."""

  apply: Callable[..., tuple[Array, Array]]  # (key, x, partner, lam) -> (mixed, lam_real [B])
  of_features: bool = False  # True: mixes the head's input features instead of images
  of_pixels: bool = False  # True: needs images [B, H, W, 3]; False: takes rows [B, F] too


class Label(NamedTuple):
  """The label of a mixed image."""

  of: Callable[..., tuple[Array, Array, Array]]  # (y_b, y_t, lam_real) -> pair target
  both: bool = False  # True: the partner's label is a target too


MIXES: dict[str, Mix] = {
  'mixup': Mix(mixing.mixup),
  'cutmix': Mix(mixing.cutmix, of_pixels=True),
  'cutmix_batch': Mix(mixing.cutmix_batch, of_pixels=True),
  'manifold': Mix(mixing.mixup, of_features=True),
}
LABELS: dict[str, Label] = {
  'single': Label(mixing.single_label),
  'mixed': Label(mixing.mixed_label, both=True),
}
