"""Moving class probabilities from the prior that trained logits imply to another one."""

from __future__ import annotations

import csv
import json
import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fass_jax.config.lookup import did_you_mean
from fass_jax.types import Array, UserError


def post_hoc(logits: Array, implied: Array, wanted: Array) -> Array:
  """Returns z_c - log pi_c + log pi'_c, the logits under another class prior.

  Where softmax(z) is p(y | x) for classes that come with prior pi, the softmax of the result is
  p(y | x) for classes that come with pi', if nothing but the prior differs.

  Args:
    logits: float `[B, C]`, z.
    implied: `[C]`, > 0, proportional to pi, the prior that z implies: the training counts after
      cross-entropy, ones after a loss that takes the prior out itself.
    wanted: `[C]`, >= 0 and not all 0, proportional to pi'.

  Returns:
    float32 `[B, C]`: z itself where both are the same, -inf for a class with pi' = 0.

  Reference: Saerens, Latinne, Decaestecker, Neural Computation 2002; Menon, Jayasumana, Rawat,
  Jain, Veit, Kumar, ICLR 2021 (pi' uniform); Hong, Han, Choi, Seo, Kim, Chang, CVPR 2021.
  """
  old, new = jnp.asarray(implied, float), jnp.asarray(wanted, float)
  shift = jnp.log(new / new.sum()) - jnp.log(old / old.sum())
  return jnp.asarray(logits, float) + shift[None, :]


def wanted(
  choice: str, classes: Sequence[str], counts: Sequence[int], flag: str = '--prior'
) -> np.ndarray:
  """Returns the class prior that a user expects, float64 `[C]`, >= 0, sums to 1.

  Args:
    choice: 'train', 'uniform', or a file: JSON `{class: weight}`, or a CSV with the columns `class`
      and `weight`.
    classes: names of the C classes.
    counts: `[C]`, training images of each class.
    flag: where the user said so, for messages.

  Raises:
    UserError: for a file that cannot be read or is no prior over these classes.
  """
  known = {'train': np.asarray(counts, np.float64), 'uniform': np.ones(len(classes))}
  if choice in known:
    return sum_to_one(known[choice])
  path = pathlib.Path(choice).expanduser()
  if not path.exists() and path.suffix:
    raise UserError(f'{flag}={choice}: there is no such file; give one that is there.')
  if not path.is_file():
    raise UserError(
      f"{flag}={choice} is neither 'train' nor 'uniform' nor a CSV or JSON file"
      f'{did_you_mean(choice, known)}'
    )
  weights = {}
  for name, value in _read(path, flag):
    if name in weights:
      raise UserError(f"{path} has two weights for the class '{name}'; leave one of them.")
    try:
      weights[name] = float(value)
    except (TypeError, ValueError):
      weights[name] = math.nan
    if not 0 <= weights[name] < math.inf:
      raise UserError(f"{path}: the weight of '{name}' is {value!r}; give a number of 0 or more.")
  for names, what in (
    (set(classes) - set(weights), 'no weight for'),
    (set(weights) - set(classes), 'weights for unknown'),
  ):
    if names:
      some = ', '.join(sorted(names)[:5]) + (', ...' if len(names) > 5 else '')
      raise UserError(
        f'{path} has {what} {len(names)} class{"es" * (len(names) > 1)} ({some}); name each of '
        f'the {len(classes)} classes of the run once.'
      )
  if not any(weights.values()):
    raise UserError(f'All weights in {path} are 0; give at least one class more.')
  return sum_to_one(np.asarray([weights[name] for name in classes]))


def _read(path: pathlib.Path, flag: str) -> Iterable[tuple[str, Any]]:
  """Returns the pairs of class and weight in a file, as they are written there."""
  try:
    text = path.read_text(encoding='utf-8-sig')
    if path.suffix.lower() == '.json':
      # pairs, so that a class that is named twice is seen
      found = json.loads(text, object_pairs_hook=list)
      if not (isinstance(found, list) and all(isinstance(pair, tuple) for pair in found)):
        raise ValueError('it is not an object')
      return found
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {'class', 'weight'} <= set(rows.fieldnames or ()):
      raise ValueError("its first line does not name the columns 'class' and 'weight'")
    return [(str(row['class']), row['weight']) for row in rows]
  except (OSError, ValueError) as error:
    raise UserError(
      f'{flag}={path} cannot be read ({error}); write a CSV with the columns class,weight, or a '
      'JSON object of weights by class.'
    ) from error


def sum_to_one(weights: np.ndarray) -> np.ndarray:
  """Returns weights over their sum."""
  return weights / weights.sum()
