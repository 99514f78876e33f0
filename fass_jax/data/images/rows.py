"""Names and labels of a prepared set, in a file apart from the images for a fast start."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import numpy as np


class Rows(NamedTuple):
  """A split of a prepared set without its images, in the order of its list."""

  names: tuple[str, ...]
  labels: np.ndarray  # int32 [N]
  lines: np.ndarray  # int32 [N], lines of the list, from 0
  row: np.ndarray  # int64 [N], rows of the images in the records


def rows_of(names: tuple[str, ...], labels: np.ndarray, lines: np.ndarray) -> Rows:
  """Returns the rows for records of these lines of a list, sorted by line."""
  row = np.argsort(lines)
  lines = lines[row]
  return Rows(tuple(names[i] for i in lines), labels[lines], lines, row)


def read_rows(source: Any) -> Rows:
  """Returns the rows from the records; slow, because this reads the images too."""
  lines, labels, names = [], [], []
  for i in range(len(source)):
    record = source[i]
    lines.append(record['line'])
    labels.append(record['label'])
    names.append(record['file_name'].decode())
  row = np.argsort(lines)
  return Rows(
    tuple(names[i] for i in row),
    np.asarray(labels, np.int32)[row],
    np.asarray(lines, np.int32)[row],
    row,
  )


def save_rows(path: pathlib.Path, rows: dict[str, Rows]) -> None:
  """Writes the rows of all splits to one .npz file."""
  arrays: dict[str, np.ndarray] = {}
  for split, r in rows.items():
    text = np.frombuffer('\n'.join(r.names).encode(), np.uint8)
    arrays |= {f'{split}/names': text, f'{split}/labels': r.labels}
    arrays |= {f'{split}/lines': r.lines, f'{split}/row': r.row}
  try:
    with path.open('wb') as f:
      np.savez(f, **arrays)  # type: ignore[arg-type]
  except PermissionError:  # the records of a read-only cache are usable without this file
    pass


def load_rows(path: pathlib.Path) -> dict[str, Rows] | None:
  """Returns the rows by split, or None if the file is missing or damaged."""
  try:
    with path.open('rb') as f, np.load(f, allow_pickle=False) as z:
      return {
        s: Rows(
          tuple(z[f'{s}/names'].tobytes().decode().split('\n')),
          z[f'{s}/labels'],
          z[f'{s}/lines'],
          z[f'{s}/row'],
        )
        for s in sorted({key.partition('/')[0] for key in z})
      }
  except Exception:  # the file is only a copy, and the records have the same data
    return None
