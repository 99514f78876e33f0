"""The files of a run: config.json, metrics.jsonl and summary.json, written atomically."""

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
  """Returns True if an error or its cause is a full disk."""
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
  workdir: pathlib.Path, then: str = 'it continues from the last complete checkpoint'
) -> Iterator[None]:
  """Converts errors of a full disk inside the context to a UserError.

  Args:
    workdir: a folder on this disk, for the message.
    then: the effect of starting the same command again, for the message.

  Raises:
    UserError: if the disk is full.
  """
  try:
    yield
  except Exception as error:  # Orbax, TensorStore and Pillow have different exception types
    if is_full(error):
      raise UserError(
        f'The disk of {workdir} is full; free some space and start the same command again: {then}.'
      ) from error
    raise


def jsonable(value: Any) -> Any:
  """Converts to plain JSON values: arrays to lists, NaN and infinities to null."""
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
  """Replaces a file atomically: a reader sees the old or the new text, never a partial one."""
  part = path.with_name(path.name + '.part')
  part.write_text(text)
  os.replace(part, path)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes JSON atomically, see `write_text`."""
  write_text(path, json.dumps(jsonable(value), indent=2) + '\n')


def prepare(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Creates the work directory, or checks that it belongs to a run with this config.

  Raises:
    UserError: if it cannot be written, or has a run with another config.
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
  """Checks that an existing work directory belongs to a run with this config.

  Raises:
    UserError: if it has a run with another config.
  """
  path = workdir / 'config.json'
  if not path.exists():
    return
  try:
    old = json.loads(path.read_text())
  except ValueError as error:
    raise UserError(
      f'{path} is not valid JSON; correct it, or choose another --workdir.'
    ) from error
  other = differences(old, config.to_dict())
  # without a checkpoint there is nothing to continue, and the config may still change
  if other and any((workdir / 'checkpoints').glob('step_*')):
    # another method explains all other differences
    method = [x for x in other if x.startswith('method ')]
    some = method or other[:8] + [f'{len(other) - 8} more'] * (len(other) > 8)
    raise UserError(
      f'{workdir} contains a run of another config: {", ".join(some)}; give the same values to '
      'continue it, or choose another --workdir.'
    )


def finished(workdir: pathlib.Path, config: ConfigDict) -> dict[str, Any] | None:
  """Returns the summary of a finished run with this config, or None."""
  try:
    old, summary = (
      json.loads((workdir / name).read_text()) for name in ('config.json', 'summary.json')
    )
  except (OSError, ValueError):
    return None
  return None if differences(old, config.to_dict()) else summary


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the records of the epochs; an incomplete last line is ignored."""
  path = workdir / 'metrics.jsonl'
  records: list[dict[str, Any]] = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      records.append(json.loads(line))
    except ValueError:
      break
  return records


def cut_metrics(workdir: pathlib.Path, epochs: int) -> list[dict[str, Any]]:
  """Truncates metrics.jsonl to the epochs of a checkpoint, and returns their records."""
  records = [r for r in read_metrics(workdir) if r['epoch'] <= epochs]
  write_text(workdir / 'metrics.jsonl', ''.join(json.dumps(r) + '\n' for r in records))
  return records


def append_metrics(workdir: pathlib.Path, record: dict[str, Any]) -> None:
  """Appends the record of an epoch and waits until it is on disk."""
  with open(workdir / 'metrics.jsonl', 'a') as file:
    file.write(json.dumps(jsonable(record)) + '\n')
    file.flush()
    os.fsync(file.fileno())
