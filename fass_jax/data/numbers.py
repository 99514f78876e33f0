"""Labels that are numbers: read from text, sorted into bins, split at random."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fass_jax.types import Dataset, UserError

log = logging.getLogger(__name__)

MOST = 10_000  # bins


class Bins(NamedTuple):
  """Bins of one width, the first one from `start` on."""

  start: float
  width: float
  size: int

  def of(self, values: np.ndarray) -> np.ndarray:
    """Returns the bin of each value, int32; the highest edge belongs to the last bin."""
    # a value such as 0.3 of width 0.1 is 2.9999999999999996 widths
    place = np.floor((np.asarray(values, np.float64) - self.start) / self.width + 1e-9)
    return np.clip(place, 0, self.size - 1).astype(np.int32)

  def names(self) -> tuple[str, ...]:
    """Returns what the bins are called: '7' for [7, 8), '25 to 50' for [25, 50)."""
    edges = [self.start + i * self.width for i in range(self.size + 1)]
    if self.width == 1 and float(self.start).is_integer():
      return tuple(f'{edge:.0f}' for edge in edges[:-1])
    return tuple(f'{low:.6g} to {high:.6g}' for low, high in zip(edges, edges[1:]))


def read(cells: Sequence[str], places: Sequence[str], what: str) -> np.ndarray:
  """Returns labels as numbers, float64 `[N]`.

  Args:
    cells: the text of each label.
    places: where each label stands, for messages: 'line 7'.
    what: of the labels, for messages: "abalone: the column 'rings'".

  Raises:
    UserError: for the first label that is no finite number.
  """
  found = np.empty(len(cells), np.float64)
  for i, cell in enumerate(cells):
    try:
      found[i] = float(cell)
    except ValueError:
      found[i] = np.nan
    if not math.isfinite(found[i]):
      raise UserError(
        f"{what} has '{cell}' in {places[i]}, which is no finite number, and a run of regression "
        'predicts numbers; correct it, or leave it out.'
      )
  return found


def bins_of(values: np.ndarray, places: Sequence[str], what: str, d: ConfigDict) -> Bins:
  """Returns the bins of some labels.

  They begin at a multiple of `bin_width`, or at the lowest label of `label_range`.

  Args:
    values: float `[N]`, all labels of the data set.
    places: where each label stands, for messages.
    what: of the labels, for messages.
    d: the section `data`; reads `bin_width` and `label_range`.

  Raises:
    UserError: for a label outside `label_range`, or a width that makes too many bins.
  """
  width, limits = float(d.bin_width), tuple(d.label_range)
  if limits and (len(limits) != 2 or not limits[0] < limits[1]):
    raise UserError(
      f'--config.data.label_range={limits} is not a range; give two numbers, the lower one first.'
    )
  low, high = limits or (math.floor(values.min() / width + 1e-9) * width, values.max())
  away = ((values < low) | (values > high)) & bool(limits)
  outside = np.flatnonzero(away)
  if len(outside):
    i = outside[0]
    raise UserError(
      f'{what} has {values[i]:g} in {places[i]}, outside the bins of --config.data.label_range='
      f'{limits} ({len(outside)} such labels); widen the range, or leave these examples out.'
    )
  # without a range, the highest label is inside its bin; of a range, it is an edge
  size = math.ceil((high - low) / width - 1e-9)
  size = max(size if limits else math.floor((high - low) / width + 1e-9) + 1, 1)
  if size > MOST:
    raise UserError(
      f'--config.data.bin_width={width:g} makes {size} bins of the labels {low:g} to {high:g}; at '
      f'most {MOST} are possible, so set a width of {(high - low) / 100:.3g} or so.'
    )
  return Bins(low, width, size)


def split(size: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the positions of two parts, both sorted: those that stay, and a share at random.

  Args:
    size: N.
    share: of the second part, in [0, 1); at least one example stays.
    seed: 0 or more.
  """
  order = np.random.default_rng((seed, size)).permutation(size)
  taken = min(round(share * size), size - 1)
  return np.sort(order[taken:]), np.sort(order[:taken])


def scale_of(data: Dataset) -> tuple[float, float] | None:
  """Returns mean and standard deviation of the training values, None where there are classes."""
  y = data.train_values
  return None if y is None else (float(y.mean(dtype=float)), float(y.std(dtype=float)) or 1.0)


def nouns_of(data: Dataset) -> tuple[str, str]:
  """Returns what messages call one label and several: classes, or bins of a number."""
  return ('class', 'classes') if data.train_values is None else ('bin', 'bins')
