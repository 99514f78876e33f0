"""Pictures of the features of one or several runs in the plane, side by side."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fass_jax.report.pictures import COLOURS, plt

NAMED = 10  # classes that a picture names, at most; of more, the most and the least frequent


class Cloud(NamedTuple):
  """The features of one network for some test images, and where they lie in the plane."""

  title: str  # of the run
  positions: np.ndarray  # int [n], in the test set
  labels: np.ndarray  # int [n]
  features: np.ndarray  # float32 [n, D], the input of the head; the experts' beside each other
  plane: Mapping[str, np.ndarray]  # by projection: float [n, 2]


def named_classes(counts: np.ndarray) -> list[int]:
  """Returns the classes that a picture names: all, or of many the most and the least frequent."""
  order = [int(c) for c in np.argsort(-counts, kind='stable')]
  half = NAMED // 2
  return order if len(order) <= NAMED else order[:half] + order[-half:]


def _short(name: str, most: int = 24) -> str:
  """Returns a name that leaves room for the panels."""
  return name if len(name) <= most else name[: most - 1] + '…'


def _panel(axes: Any, points: np.ndarray, parts: Sequence[tuple[str, Any, np.ndarray]]) -> None:
  """Scatters points by part, `(label, colour, bool [n])`; the others are grey."""
  rest = ~np.logical_or.reduce([members for _, _, members in parts])
  size = float(np.clip(6000 / len(points), 2, 14))
  axes.scatter(*points[rest].T, s=size, color='0.85', linewidths=0)
  for label, colour, members in parts:
    axes.scatter(*points[members].T, s=size, color=colour, linewidths=0, label=label)
  axes.set(xticks=[], yticks=[])


def draw(
  path: pathlib.Path,
  clouds: Sequence[Cloud],
  projection: str,
  names: Sequence[str],
  counts: np.ndarray,
  groups: Mapping[str, np.ndarray],
) -> None:
  """Draws a projection: one column per run; above by class, below by shot group.

  Args:
    path: of the PNG file.
    clouds: of the runs.
    projection: 'tsne' or 'pca'.
    names: of the classes.
    counts: `[C]`, training images per class.
    groups: bool masks `[C]` for 'many', 'medium', 'few'.
  """
  shown = named_classes(counts)
  colours = plt.get_cmap('tab10')
  figure, grid = plt.subplots(
    2, len(clouds), figsize=(1.8 + 5 * len(clouds), 9.6), layout='constrained', squeeze=False
  )
  for column, cloud in zip(grid.T, clouds):
    labels, points = cloud.labels, cloud.plane[projection]
    by_class = [
      (f'{_short(names[c])} ({counts[c]})', colours(i), labels == c) for i, c in enumerate(shown)
    ]
    by_group = [(f'{g}-shot', COLOURS[g], m[labels]) for g, m in groups.items() if m.any()]
    _panel(column[0], points, by_class)
    _panel(column[1], points, by_group)
    column[0].set_title(cloud.title)
  title = 'class (training images)' + '\nmost and least frequent' * (len(shown) < len(names))
  for axes, words in zip(grid[:, -1], (title, 'training images of the class')):
    axes.legend(
      title=words, loc='center left', bbox_to_anchor=(1, 0.5), frameon=False, markerscale=3
    )
  figure.savefig(path, dpi=110)
  plt.close(figure)
