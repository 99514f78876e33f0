"""Shifted test sets: long-tailed in forward or backward order of the training classes.

They are made from one test set. Class j has n_j = N mu^((j - 1) / C) images, where j is the rank of
the class by training images and 1 / mu is the imbalance ratio of the shifted set; backward sets
have the reverse order.

Reference: Hong et al., Disentangling Label Distribution for Long-tailed Visual Recognition,
arXiv:2012.00321.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fass_jax.report.metrics import group_means

RATIOS = (50, 25, 10, 5, 2)


class Shift(NamedTuple):
  """A shifted test set."""

  name: str  # column title
  ratio: float
  backward: bool = False


SHIFTS = (
  *(Shift(f'F{r}', r) for r in RATIOS),
  Shift('U', 1),
  *(Shift(f'B{r}', r, True) for r in reversed(RATIOS)),
)


def profile(train: np.ndarray, test: np.ndarray, shift: Shift) -> np.ndarray:
  """Returns the images per class of a shifted test set, n_j = N mu^((j - 1) / C).

  Args:
    train: int `[C]`, training images per class; equal numbers are ranked by class index.
    test: int `[C]`, test images per class; N is the smallest number above 0. A class without test
      images has 0 images and no rank.
    shift: the shifted set.

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
  """Returns `profile` for all `SHIFTS`, float64 `[S, C]`; if `whole`, rounded and at least 1."""
  n = np.stack([profile(train, test, shift) for shift in SHIFTS])
  return np.where(n > 0, np.maximum(np.rint(n), 1), 0) if whole else n


def resample(labels: np.ndarray, n: np.ndarray, seed: int) -> np.ndarray:
  """Draws the images of shifted test sets without replacement; draws of a class are nested.

  Args:
    labels: int `[M]`, labels of the test set.
    n: whole numbers `[S, C]`, at most the number of test images of the class.
    seed: >= 0.

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

  This is the expected accuracy for a random subset of the test set with n_c images of class c.

  Args:
    recall: float `[S, C]`, r; ignored where n = 0.
    n: `[S, C]`.

  Returns:
    float64 `[S]`.
  """
  return np.where(n > 0, n * np.where(n > 0, recall, 0), 0).sum(1) / n.sum(1)


def figures(
  hits: np.ndarray, total: np.ndarray, n: np.ndarray, groups: dict[str, np.ndarray]
) -> dict[str, list[float]]:
  """Returns the metrics of shifted test sets.

  Args:
    hits: int `[S, C]`, correct predictions.
    total: int `[S, C]`, evaluated images.
    n: `[S, C]`, images of the shifted sets.
    groups: masks of `metrics.shot_groups`.

  Returns:
    Lists of S fractions: `top1`, and the mean recall of the classes in `many`, `medium`, `few`.
  """
  with np.errstate(divide='ignore', invalid='ignore'):
    recall = np.asarray(hits, np.float64) / total
  rows = [group_means(r, groups) for r in recall]
  return {'top1': accuracy(recall, n).tolist()} | {k: [row[k] for row in rows] for k in groups}


def table(as_it_is: dict[str, list[Any]], known: dict[str, list[Any]] | None) -> str:
  """Returns a table of the metrics in percent, with one column per shifted set."""

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
  for title, part in (('without prior correction', as_it_is), ('with the known prior', known)):
    if part is not None:
      lines.append(f'{title}:')
      lines += [line(f'  {label}', [number(x) for x in part[k]]) for k, label in names.items()]
  return '\n'.join(lines)
