"""CUDA's level of learning: an augmentation strength per class, tested after each epoch."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.types import Array, Inspector, Outputs, Signal, Targets


class Levels(NamedTuple):
  """The state of the signal."""

  level: Array  # int32 [C], 0 .. most


def next_level(level: np.ndarray, passed: np.ndarray, most: int) -> np.ndarray:
  """Returns L + 1 for classes that passed, L - 1 for the others, clipped to 0 .. most.

  Args:
    level: int `[C]`, L.
    passed: bool `[C]`, True if the class passed at every level up to L.
    most: the highest level.

  Reference: Ahn et al., CUDA: Curriculum of Data Augmentation for Long-Tailed Recognition,
  arXiv:2302.05499.
  """
  return np.clip(np.where(passed, level + 1, level - 1), 0, most)


def list_probes(level: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
  """Lists the test images: images * (s + 1) draws per class c and level s <= L_c.

  Returns:
    int `[n]` classes and int `[n]` levels.
  """
  rows = [(c, s) for c, top in enumerate(level) for s in range(top + 1)]
  often = [images * (s + 1) for _, s in rows]
  pairs = np.repeat(np.asarray(rows, np.int64).reshape(-1, 2), often, axis=0)
  return pairs[:, 0], pairs[:, 1]


def levels(view: str, chance: float, accept: float, images: int, most: int) -> Signal:
  """Returns the signal, which sets the strength of the op 'cuda'.

  At the end of an epoch, each class is tested at every level s up to its own: images * (s + 1) of
  its training images are drawn with replacement, augmented as in training, and classified by the
  network in evaluation mode. If the accuracy is above `accept` at every s, the level of the class
  rises by 1, otherwise it falls by 1. In training, an image of class c has strength L_c with
  probability `chance`, otherwise 0.

  Args:
    view: any active view; the test uses the ops of the natural view.
    chance: in [0, 1].
    accept: accuracy threshold, in [0, 1).
    images: number of draws at level 0.
    most: the highest level.

  Reference: Ahn et al., CUDA: Curriculum of Data Augmentation for Long-Tailed Recognition,
  arXiv:2302.05499.
  """

  def init(num_classes: int) -> Levels:
    return Levels(jnp.zeros((num_classes,), jnp.int32))

  def observe(state: Levels, outs: Outputs, targets: Targets, mask: Array) -> Levels:
    del outs, targets, mask
    return state

  def refresh(state: Levels, inspector: Inspector, key: Array, epoch: Array) -> Levels:
    del epoch
    level = np.asarray(state.level)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    classes, strengths = list_probes(level, images)
    right = inspector.probe(key, rng, classes, 'cuda', strengths)
    # a class passes only if it passes at every level
    passed = np.ones(len(level), bool)
    for s in range(int(level.max()) + 1):
      at = strengths == s
      total = np.bincount(classes[at], minlength=len(level))
      hits = np.bincount(classes[at], right[at], minlength=len(level))
      passed &= (total == 0) | (hits > accept * total)
    return Levels(jnp.asarray(next_level(level, passed, most), jnp.int32))

  def strength(state: Levels, key: Array, labels: Array) -> Array:
    on = jax.random.bernoulli(key, chance, labels.shape)
    return jnp.where(on, state.level[labels], 0).astype(float)

  def describe(old: Levels, new: Levels) -> dict[str, float]:
    del old
    level = np.asarray(new.level)
    return {'level_mean': float(level.mean()), 'level_max': float(level.max())}

  return Signal(view, init, observe, refresh, describe, 'cuda', strength)
