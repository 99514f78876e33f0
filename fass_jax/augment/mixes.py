"""Mixes of two images, and the labels of what comes out, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fass_jax import mixing
from fass_jax.types import Array


class Mix(NamedTuple):
  """A mix as a config names it."""

  apply: Callable[..., tuple[Array, Array]]  # (key, x, partner, lam) -> (mixed, lam_real [B])
  of_features: bool = False  # mixes what the head gets, and leaves the images as they are


class Label(NamedTuple):
  """The label of a mix as a config names it."""

  of: Callable[..., tuple[Array, Array, Array]]  # (y_b, y_t, lam_real) -> pair target
  both: bool = False  # whether the partner's label is trained too


MIXES: dict[str, Mix] = {
  'mixup': Mix(mixing.mixup),
  'cutmix': Mix(mixing.cutmix),
  'cutmix_batch': Mix(mixing.cutmix_batch),
  'manifold': Mix(mixing.mixup, of_features=True),
}
LABELS: dict[str, Label] = {
  'single': Label(mixing.single_label),
  'mixed': Label(mixing.mixed_label, both=True),
}
