"""The files of a run: config.json, metrics.jsonl, summary.json; written so that nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fass_jax.config.deltas import differences
from fass_jax.types import UserError


def is_full(error: BaseException | None) -> bool:
  """Says whether an error, or what caused it, is a full disk."""
  while error is not None:
    text = str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
      return True
    if 'No space left on device' in text or 'RESOURCE_EXHAUSTED: Failed to write' in text:
      return True
    error = error.__cause__ or error.__context__
  return False


@contextlib.contextmanager
def explain_full_disk(
  workdir: pathlib.Path, then: str = 'it continues from the last whole checkpoint'
) -> Iterator[None]:
  """Turns a full disk, wherever it is met inside, into one sentence; other errors pass.

  Args:
    workdir: what lies on it.
    then: what happens when the same command is started again.

  Raises:
    UserError: if the disk is full.
  """
  try:
    yield
  except Exception as error:  # Orbax, TensorStore, Pillow: each has its own kind
    if is_full(error):
      raise UserError(
        f'The disk of {workdir} is full; free some space and start the same command again: {then}.'
      ) from error
    raise


def jsonable(value: Any) -> Any:
  """Returns plain JSON values: arrays as lists, NaN and infinities as null."""
  if isinstance(value, dict):
    return {str(k): jsonable(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [jsonable(v) for v in value]
  if isinstance(value, np.ndarray | np.generic):
    return jsonable(value.tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_text(path: pathlib.Path, text: str) -> None:
  """Replaces a file in one move: a reader sees the old text or the new one, never a part."""
  part = path.with_name(path.name + '.part')
  part.write_text(text)
  os.replace(part, path)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes JSON as `write_text` does."""
  write_text(path, json.dumps(jsonable(value), indent=2) + '\n')


def prepare(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Creates the work directory, or makes sure that it belongs to this config.

  Raises:
    UserError: if it cannot be written, or holds a run of another config.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    probe = workdir / '.writable'
    probe.write_text('')
    probe.unlink()
  except OSError as error:
    if is_full(error):
      raise
    reason = error.strerror or error
    raise UserError(
      f'The work directory {workdir} cannot be written ({reason}); choose another --workdir.'
    ) from error
  check_same(workdir, config)
  write_json(workdir / 'config.json', config.to_dict())


def check_same(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Makes sure that a work directory, if there is one, belongs to this config.

  Raises:
    UserError: if it holds a run of another config.
  """
  path = workdir / 'config.json'
  if not path.exists():
    return
  try:
    old = json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f'{path} is not JSON; mend it or choose another --workdir.') from error
  other = differences(old, config.to_dict())
  # without a checkpoint there is nothing to continue: a run that was refused may be mended
  if other and any((workdir / 'checkpoints').glob('step_*')):
    # the method alone says it all
    method = [x for x in other if x.startswith('method ')]
    some = method or other[:8] + [f'{len(other) - 8} more'] * (len(other) > 8)
    raise UserError(
      f'{workdir} holds a run of another config: {", ".join(some)}; give the same values to '
      'continue it, or choose another --workdir.'
    )


def finished(workdir: pathlib.Path, config: ConfigDict) -> dict[str, Any] | None:
  """Returns the summary of a run that is over, None of one that is not, or is of another config."""
  try:
    old, summary = (
      json.loads((workdir / name).read_text()) for name in ('config.json', 'summary.json')
    )
  except (OSError, ValueError):
    return None
  return None if differences(old, config.to_dict()) else summary


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the epochs' records; a torn last line counts as not written."""
  path = workdir / 'metrics.jsonl'
  records: list[dict[str, Any]] = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      records.append(json.loads(line))
    except ValueError:
      break
  return records


def cut_metrics(workdir: pathlib.Path, epochs: int) -> list[dict[str, Any]]:
  """Cuts metrics.jsonl to the epochs that a checkpoint has seen; returns them."""
  records = [r for r in read_metrics(workdir) if r['epoch'] <= epochs]
  write_text(workdir / 'metrics.jsonl', ''.join(json.dumps(r) + '\n' for r in records))
  return records


def append_metrics(workdir: pathlib.Path, record: dict[str, Any]) -> None:
  """Adds the line of an epoch and waits until it is on disk."""
  with open(workdir / 'metrics.jsonl', 'a') as file:
    file.write(json.dumps(jsonable(record)) + '\n')
    file.flush()
    os.fsync(file.fileno())
