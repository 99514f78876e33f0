"""Plots of a finished run, as PNG files in its work directory."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use('Agg')  # works without a display

import matplotlib.pyplot as plt

COLOURS = {'many': '#1f77b4', 'medium': '#ff7f0e', 'few': '#d62728'}


def save(path: pathlib.Path, size: tuple[float, float], draw: Callable[..., None], *args) -> None:
  """Writes a picture of `size` inches that `draw(axes, *args)` makes."""
  figure, axes = plt.subplots(figsize=size, layout='constrained')
  draw(axes, *args)
  figure.savefig(path, dpi=120)
  plt.close(figure)


def learning_curves(axes: Any, records: Sequence[dict[str, Any]]) -> None:
  """Plots accuracy over epochs: train, test, and test per shot group."""
  axes.plot(
    [r['epoch'] for r in records], [100 * r['train_top1'] for r in records], '0.6', label='train'
  )
  tested = [r for r in records if r.get('test')]
  for key, colour in {'top1': 'k', **COLOURS}.items():
    if tested and tested[-1]['test'][key] is not None:
      axes.plot(
        [r['epoch'] for r in tested],
        [100 * r['test'][key] for r in tested],
        color=colour,
        label='test' if key == 'top1' else f'test, {key}-shot',
      )
  axes.set(xlabel='epoch', ylabel='accuracy (%)', ylim=(0, 100))
  axes.legend(frameon=False)
  axes.grid(alpha=0.3)


def matrix(axes: Any, values: np.ndarray, title: str, names: Sequence[str], across: str) -> None:
  """Plots a C x C matrix of fractions, with the true classes as rows."""
  image = axes.imshow(values, cmap='viridis', vmin=0, vmax=1, interpolation='nearest')
  axes.figure.colorbar(image, ax=axes, shrink=0.8)
  axes.set(title=title, xlabel=across, ylabel='true class')
  names = names[: len(values)]  # without the auxiliary classes, where only others are tested
  if len(names) <= 20:
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)


def recall_by_count(
  axes: Any, recall: np.ndarray, counts: np.ndarray, groups: dict[str, np.ndarray]
) -> None:
  """Plots the recall of each class over its number of training images."""
  for name, members in groups.items():
    if members.any():
      axes.scatter(
        counts[members], 100 * recall[members], s=18, color=COLOURS[name], label=f'{name}-shot'
      )
  axes.set(
    xlabel='training images of the class', ylabel='test recall (%)', xscale='log', ylim=(-2, 102)
  )
  axes.legend(frameon=False)
  axes.grid(alpha=0.3)


def class_counts(axes: Any, counts: np.ndarray, groups: dict[str, np.ndarray]) -> None:
  """Plots the training images per class, largest class first, on a log scale, by shot group.

  Args:
    axes: matplotlib axes.
    counts: `[C]`, training images per class.
    groups: bool masks `[C]` for 'many', 'medium', 'few'.
  """
  order = np.argsort(-counts, kind='stable')
  for name, members in groups.items():
    here = np.flatnonzero(members[order])
    if len(here):
      axes.bar(
        here,
        counts[order][here],
        width=1.0,
        color=COLOURS[name],
        label=f'{name}-shot: {len(here)} classes',
      )
  axes.set(
    xlabel='class, largest first',
    ylabel='training images',
    yscale='log',
    ylim=(0.7, None),
    xlim=(-0.5, len(counts) - 0.5),
  )
  axes.legend(frameon=False)
  axes.grid(alpha=0.3, axis='y')


def draw_counts(folder: pathlib.Path, counts: np.ndarray, groups: dict[str, np.ndarray]) -> None:
  """Writes class_counts.png, see `class_counts`."""
  save(folder / 'class_counts.png', (6.5, 4), class_counts, counts, groups)


def draw_all(
  workdir: pathlib.Path,
  records: Sequence[dict[str, Any]],
  confusion: np.ndarray,
  score: np.ndarray | None,
  counts: np.ndarray,
  groups: dict[str, np.ndarray],
  names: Sequence[str],
) -> None:
  """Writes learning_curves, confusion_matrix, recall_by_count and, with a score, score_matrix."""
  share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
  save(workdir / 'learning_curves.png', (7, 4.5), learning_curves, records)
  save(
    workdir / 'confusion_matrix.png',
    (6.5, 5.5),
    matrix,
    share,
    'Confusion matrix, last epoch',
    names,
    'predicted class',
  )
  if score is not None:
    save(
      workdir / 'score_matrix.png',
      (6.5, 5.5),
      matrix,
      score,
      'Score matrix S, last epoch',
      names,
      'class k: mean softmax',
    )
  save(
    workdir / 'recall_by_count.png',
    (6.5, 4.5),
    recall_by_count,
    np.diagonal(share),
    counts,
    groups,
  )
