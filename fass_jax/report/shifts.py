"""Test sets of other class shares than the one at hand: long-tailed, forward and backward.

From one test set, by the recall of each class: the classes come as n_j = N mu^((j - 1) / C), j
their rank by training images and mu one over the ratio of the set; forward in that order, backward
in the reverse.

Reference: Hong, Han, Choi, Seo, Kim, Chang, CVPR 2021.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fass_jax.report.metrics import group_means

RATIOS = (50, 25, 10, 5, 2)


class Shift(NamedTuple):
  """A shifted test set."""

  name: str  # for people
  ratio: float
  backward: bool = False


SHIFTS = (
  *(Shift(f'F{r}', r) for r in RATIOS),
  Shift('U', 1),
  *(Shift(f'B{r}', r, True) for r in reversed(RATIOS)),
)


def profile(train: np.ndarray, test: np.ndarray, shift: Shift) -> np.ndarray:
  """Returns the images of each class in a shifted test set, n_j = N mu^((j - 1) / C).

  Args:
    train: int `[C]`, training images of each class; those of equally many rank by their number.
    test: int `[C]`, test images; N is the least of those above 0, and classes of 0 have none and
      no rank.
    shift: which set.

  Returns:
    float64 `[C]`, >= 0.
  """
  there = np.flatnonzero(np.asarray(test) > 0)
  order = there[np.argsort(-np.asarray(train)[there], kind='stable')]
  n = np.asarray(test)[there].min() * (1 / shift.ratio) ** (np.arange(len(there)) / len(there))
  out = np.zeros(len(test))
  out[order[::-1] if shift.backward else order] = n
  return out


def profiles(train: np.ndarray, test: np.ndarray, whole: bool) -> np.ndarray:
  """Returns `profile` of all `SHIFTS`, float64 `[S, C]`; if `whole`, rounded, and 1 at least."""
  n = np.stack([profile(train, test, shift) for shift in SHIFTS])
  return np.where(n > 0, np.maximum(np.rint(n), 1), 0) if whole else n


def resample(labels: np.ndarray, n: np.ndarray, seed: int) -> np.ndarray:
  """Draws the images of shifted test sets, without replacement; smaller sets lie in larger ones.

  Args:
    labels: int `[M]`, of the test set.
    n: whole numbers `[S, C]`, none above the images of its class.
    seed: 0 or more.

  Returns:
    bool `[S, M]`.
  """
  out = np.zeros((len(n), len(labels)), bool)
  for c in range(n.shape[1]):
    mine = np.random.default_rng((seed, c)).permutation(np.flatnonzero(labels == c))
    for s, count in enumerate(n[:, c]):
      out[s, mine[: int(count)]] = True
  return out


def accuracy(recall: np.ndarray, n: np.ndarray) -> np.ndarray:
  """Returns the top-1 accuracy on sets with n_c images of class c: sum_c n_c r_c / sum_c n_c.

  This is the mean over all draws of a set with n_c images of each class from the test set.

  Args:
    recall: float `[S, C]`, r; read where n > 0.
    n: `[S, C]`.

  Returns:
    float64 `[S]`.
  """
  return np.where(n > 0, n * np.where(n > 0, recall, 0), 0).sum(1) / n.sum(1)


def figures(
  hits: np.ndarray, total: np.ndarray, n: np.ndarray, groups: dict[str, np.ndarray]
) -> dict[str, list[float]]:
  """Returns the figures of shifted test sets.

  Args:
    hits: int `[S, C]`, right answers.
    total: int `[S, C]`, images that were asked.
    n: `[S, C]`, images of the shifted sets.
    groups: masks of `metrics.shot_groups`.

  Returns:
    Lists of S fractions: `top1`, and `many`, `medium`, `few`, the mean recall of their classes.
  """
  with np.errstate(divide='ignore', invalid='ignore'):
    recall = np.asarray(hits, np.float64) / total
  rows = [group_means(r, groups) for r in recall]
  return {'top1': accuracy(recall, n).tolist()} | {k: [row[k] for row in rows] for k in groups}


def table(as_it_is: dict[str, list[Any]], known: dict[str, list[Any]] | None) -> str:
  """Returns the figures in percent, a column a shifted set."""

  def line(label: str, cells: list[str]) -> str:
    return f'{label:28}' + ''.join(f'{c:>7}' for c in cells)

  def number(x: float | None) -> str:
    return '-' if x is None or not np.isfinite(x) else f'{100 * x:.2f}'

  names = {
    'top1': 'top-1 accuracy',
    'many': 'many-shot',
    'medium': 'medium-shot',
    'few': 'few-shot',
  }
  lines = [line('', [shift.name for shift in SHIFTS])]
  for title, part in (('as it is', as_it_is), ('moved to the known prior', known)):
    if part is not None:
      lines.append(f'{title}:')
      lines += [line(f'  {label}', [number(x) for x in part[k]]) for k, label in names.items()]
  return '\n'.join(lines)
