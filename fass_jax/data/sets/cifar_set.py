"""Prepared CIFAR-LT sets: parameters, arrays and folders."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np

from fass_jax import counts
from fass_jax.data.sets import cifar_files
from fass_jax.types import UserError

VERSION = '1.0.0'


class Spec(NamedTuple):
  """The parameters of a long-tailed set."""

  base: int
  imb_factor: float
  profile: str = 'exp'
  subset_seed: int = 0

  @property
  def config_name(self) -> str:
    """The name of the tfds configuration, unique per set, e.g. 'c100_if100_exp_s0'."""
    factor = float(self.imb_factor)
    text = str(int(factor)) if factor.is_integer() else repr(factor)
    return f'c{self.base}_if{text}_{self.profile}_s{self.subset_seed}'


class Split(NamedTuple):
  """A split of a prepared set."""

  images: np.ndarray  # uint8 [N, 32, 32, 3]
  labels: np.ndarray  # int32 [N]
  origin: np.ndarray  # int32 [N], position in the original file order


class Prepared(NamedTuple):
  """A prepared set."""

  train: Split
  test: Split
  class_names: tuple[str, ...]


def check(spec: Spec) -> None:
  """Raises UserError if the parameters of a set are invalid."""
  if spec.base not in cifar_files.LAYOUTS:
    raise UserError(f'There is no CIFAR-{spec.base}; give 10 or 100.')
  if not 0 <= spec.subset_seed < 2**32:
    raise UserError(f'The subset seed is {spec.subset_seed}; give one from 0 to 4294967295.')
  counts.class_counts(50000 // spec.base, spec.base, spec.imb_factor, spec.profile)


def prepared_dir(spec: Spec, root: pathlib.Path) -> pathlib.Path:
  """Returns the versioned folder of a set below the cache `root`, whether it exists or not."""
  return root / 'cifar_lt' / spec.config_name / VERSION


def is_prepared(folder: pathlib.Path) -> bool:
  """Returns True if the set in this folder is complete; tfds renames the folder only then."""
  return (folder / 'dataset_info.json').is_file()
