"""Plots of a finished run that predicts numbers, as PNG files in its work directory."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fass_jax.report.pictures import COLOURS, save
from fass_jax.report.regression import Test, error_by_bin


def learning_curves(axes: Any, records: Sequence[dict[str, Any]]) -> None:
  """Plots the mean absolute error over epochs: train, test, and test per shot group."""
  axes.plot([r['epoch'] for r in records], [r['train_mae'] for r in records], '0.6', label='train')
  tested = [r for r in records if r.get('test')]
  for key, colour in {'mae': 'k', **COLOURS}.items():
    name = key if key == 'mae' else f'{key}_mae'
    if tested and tested[-1]['test'].get(name) is not None:
      axes.plot(
        [r['epoch'] for r in tested],
        [r['test'][name] for r in tested],
        color=colour,
        label='test' if key == 'mae' else f'test, {key}-shot',
      )
  axes.set(xlabel='epoch', ylabel='mean absolute error (unit of the label)', ylim=(0, None))
  axes.legend(frameon=False)
  axes.grid(alpha=0.3)


def error_and_density(axes: Any, test: Test, predictions: np.ndarray) -> None:
  """Plots the training examples per bin as bars, and the test error of each bin as points."""
  size = len(test.counts)
  axes.bar(range(size), test.counts, width=1.0, color='0.85', label='training examples')
  axes.set(xlabel='bin of the label', ylabel='training examples')
  step = max(1, -(-size // 15))
  axes.set_xticks(range(0, size, step), test.names[::step], rotation=60, ha='right')
  error, own = axes.twinx(), error_by_bin(predictions, test)
  for name, colour in COLOURS.items():
    here = np.unique(test.bins[test.groups[name]])
    if len(here):
      error.scatter(here, own[here], s=18, color=colour, label=f'error, {name}-shot')
  error.set(ylabel='mean absolute error (unit of the label)', ylim=(0, None))
  handles = [*axes.get_legend_handles_labels()[0], *error.get_legend_handles_labels()[0]]
  error.legend(handles, [h.get_label() for h in handles], frameon=False)


def predictions_over_values(axes: Any, test: Test, predictions: np.ndarray) -> None:
  """Plots the prediction of each test example over its label."""
  for name, colour in COLOURS.items():
    on = test.groups[name]
    if on.any():
      axes.scatter(test.values[on], predictions[on], s=8, alpha=0.6, color=colour,
                   label=f'{name}-shot')  # fmt: skip
  ends = [float(test.values.min()), float(test.values.max())]
  axes.plot(ends, ends, 'k', linewidth=0.8)
  axes.set(xlabel='label', ylabel='prediction')
  axes.legend(frameon=False)
  axes.grid(alpha=0.3)


def draw_all(
  workdir: pathlib.Path, records: Sequence[dict[str, Any]], test: Test, predictions: np.ndarray
) -> None:
  """Writes learning_curves, error_and_density and predictions, of the last epoch."""
  save(workdir / 'learning_curves.png', (7, 4.5), learning_curves, records)
  save(workdir / 'error_and_density.png', (8, 4.5), error_and_density, test, predictions)
  save(workdir / 'predictions.png', (5.5, 5), predictions_over_values, test, predictions)
