"""Moves logits from the class prior that they imply to another class prior."""

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

  If softmax(z) is p(y | x) under the prior pi, the softmax of the result is p(y | x) under the
  prior pi', provided that p(x | y) stays the same.

  Args:
    logits: float `[B, C]`, z.
    implied: `[C]`, > 0, proportional to pi, the prior that z implies: the training counts for
      cross entropy, ones for a loss that removes the prior.
    wanted: `[C]`, >= 0 and not all 0, proportional to pi'.

  Returns:
    float32 `[B, C]`: z if pi = pi'; -inf for a class with pi' = 0.

  Reference: Saerens et al., Adjusting the Outputs of a Classifier to New a Priori Probabilities: A
  Simple Procedure, Neural Computation 2002; for uniform pi': Menon et al., Long-tail learning via
  logit adjustment, arXiv:2007.07314; Hong et al., Disentangling Label Distribution for Long-tailed
  Visual Recognition, arXiv:2012.00321.
  """
  old, new = jnp.asarray(implied, float), jnp.asarray(wanted, float)
  shift = jnp.log(new / new.sum()) - jnp.log(old / old.sum())
  return jnp.asarray(logits, float) + shift[None, :]


def wanted(
  choice: str, classes: Sequence[str], counts: Sequence[int], flag: str = '--prior'
) -> np.ndarray:
  """Returns the class prior that the user requests, float64 `[C]`, >= 0, sum 1.

  Args:
    choice: 'train', 'uniform', or a file: JSON `{class: weight}`, or a CSV with the columns `class`
      and `weight`.
    classes: names of the C classes.
    counts: `[C]`, training images per class.
    flag: the user's flag, for messages.

  Raises:
    UserError: if the file cannot be read or is not a prior over these classes.
  """
  known = {'train': np.asarray(counts, np.float64), 'uniform': np.ones(len(classes))}
  if choice in known:
    return sum_to_one(known[choice])
  path = pathlib.Path(choice).expanduser()
  if not path.exists() and path.suffix:
    raise UserError(f'{flag}={choice}: there is no such file; give the path of an existing file.')
  if not path.is_file():
    raise UserError(
      f"{flag}={choice} is neither 'train' nor 'uniform' nor a CSV or JSON file"
      f'{did_you_mean(choice, known)}'
    )
  weights = {}
  for name, value in _read(path, flag):
    if name in weights:
      raise UserError(f"{path} has two weights for the class '{name}'; delete one of them.")
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
        f'{path} has {what} {len(names)} class{"es" * (len(names) > 1)} ({some}); list each of '
        f'the {len(classes)} classes of the run once.'
      )
  if not any(weights.values()):
    raise UserError(f'All weights in {path} are 0; give at least one class a positive weight.')
  return sum_to_one(np.asarray([weights[name] for name in classes]))


def _read(path: pathlib.Path, flag: str) -> Iterable[tuple[str, Any]]:
  """Returns the pairs of class and weight in a file, without checks of the weights."""
  try:
    text = path.read_text(encoding='utf-8-sig')
    if path.suffix.lower() == '.json':
      # pairs instead of a dict, so that a duplicate class can be reported
      found = json.loads(text, object_pairs_hook=list)
      if not (isinstance(found, list) and all(isinstance(pair, tuple) for pair in found)):
        raise ValueError('it is not a JSON object')
      return found
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {'class', 'weight'} <= set(rows.fieldnames or ()):
      raise ValueError("the columns 'class' and 'weight' are missing in the first line")
    return [(str(row['class']), row['weight']) for row in rows]
  except (OSError, ValueError) as error:
    raise UserError(
      f'{flag}={path} cannot be read ({error}); write a CSV with the columns class,weight, or a '
      'JSON object of weights by class.'
    ) from error


def sum_to_one(weights: np.ndarray) -> np.ndarray:
  """Returns weights divided by their sum."""
  return weights / weights.sum()
