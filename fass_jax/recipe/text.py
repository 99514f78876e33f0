"""How numbers and schedules are written for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def number(x: float) -> str:
  """Writes a number as short as it is: '0.1', '200'."""
  return f'{x:g}'


def over_time(pairs: Any, epochs: int) -> str:
  """Writes a schedule: '0, from epoch 161 on 1' (epochs count from 1).

  Args:
    pairs: a number, or `((when, value), ...)` as of `optimiser.piecewise`.
    epochs: length of the run.
  """
  if isinstance(pairs, int | float):
    return number(pairs)
  # an epoch that a fraction of the run only just reaches has begun
  whens = [w * epochs if isinstance(w, float) and w < 1 else w for w, _ in pairs]
  parts = [number(pairs[0][1])]
  for when, (_, value) in zip(whens[1:], pairs[1:]):
    parts.append(f'from epoch {int(np.ceil(when - 1e-6)) + 1} on {number(value)}')
  return ', '.join(parts)


def value(x: Any) -> str:
  """Writes a value of a config: a number as `number` does, all else as it is."""
  return number(x) if isinstance(x, float) else str(x)


def named(section: Mapping[str, Any], keys: tuple[str, ...]) -> str:
  """Writes some values of a section: 'form matrix, decay 0.9'."""

  return ', '.join(f'{k} {value(section[k])}' for k in keys)
