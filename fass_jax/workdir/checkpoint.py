"""Checkpoints with Orbax: the state, the best parameters so far, and the progress of the run.

Each checkpoint is self-contained. The best parameters are a part of the newest checkpoint instead
of a separate one, so that no retention rule can delete the newest checkpoint because of a poor
metric, and a resumed run has its exact best epoch.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp

from fass_jax.types import ALONE, Placement, PyTree, UserError

log = logging.getLogger('fass_jax')


def open_manager(folder: pathlib.Path, keep: int) -> ocp.CheckpointManager:
  """Opens or creates the checkpoints of a work directory.

  Args:
    folder: folder of the checkpoints; made absolute, as Orbax requires.
    keep: number of newest checkpoints to keep; with 2, a damaged newest one is not fatal.
  """
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep, step_prefix='step', cleanup_tmp_directories=True
  )
  return ocp.CheckpointManager(folder.absolute(), options=options)


def save(manager: ocp.CheckpointManager, step: int, tree: PyTree, meta: dict[str, Any]) -> None:
  """Copies the arrays and starts to write them in the background.

  Args:
    manager: a result of `open_manager`.
    step: steps done.
    tree: a tree of arrays.
    meta: plain JSON values.
  """
  if step in manager.all_steps():
    return  # runs are deterministic, so the existing checkpoint of this step is equal
  manager.save(
    step,
    args=ocp.args.Composite(tree=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta)),
  )


def restore(
  manager: ocp.CheckpointManager, make: Callable[[], PyTree], where: Placement = ALONE
) -> tuple[int, PyTree, dict[str, Any]] | None:
  """Reads the newest readable checkpoint.

  Damaged checkpoints are skipped with a warning and removed, so that their steps can be saved
  again.

  Args:
    manager: a result of `open_manager`.
    make: returns a tree with the expected shapes; only its shapes are used.
    where: the placement of the arrays; it may differ from the placement when they were saved.

  Returns:
    `(step, tree, meta)`, or None if there is no checkpoint.

  Raises:
    UserError: if there are checkpoints but none can be read.
  """
  steps = sorted(manager.all_steps(), reverse=True)
  shapes = jax.eval_shape(make)
  device = where.whole or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), shapes)
  damaged = []
  for step in steps:
    try:
      got = manager.restore(
        step,
        args=ocp.args.Composite(tree=ocp.args.StandardRestore(shapes), meta=ocp.args.JsonRestore()),
      )
    except Exception as error:  # Orbax and TensorStore raise many exception types for broken files
      damaged.append(step)
      reason = str(error).strip().split('\n')[0][:200]
      log.warning('Checkpoint %d is damaged and was skipped (%s).', step, reason)
      continue
    for bad in damaged:
      manager.delete(bad)
    return step, got.tree, got.meta
  if damaged:
    raise UserError(
      f'None of the checkpoints in {manager.directory} can be read; remove that folder to restart '
      'the run from the beginning, or choose another --workdir.'
    )
  return None


def _newest(folder: pathlib.Path, read: Callable[[ocp.CheckpointManager, int], Any]) -> Any:
  """Returns `read(manager, step)` for the newest readable checkpoint, or None."""
  if not folder.is_dir():
    return None
  options = ocp.CheckpointManagerOptions(read_only=True, create=False, step_prefix='step')
  handlers = {'tree': ocp.PyTreeCheckpointHandler(), 'meta': ocp.JsonCheckpointHandler()}
  with ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        return read(manager, step)
      except Exception as error:  # many exception types, as in `restore`
        reason = str(error).strip().split('\n')[0][:200]
        log.warning('Checkpoint %d of %s was skipped (%s).', step, folder, reason)
  return None


def variables(folder: pathlib.Path, part: str = 'state') -> list[PyTree] | None:
  """Reads the network variables of the newest readable checkpoint, without writing any file.

  Args:
    folder: folder of the checkpoints; any config.
    part: 'state', after the last step, or 'best', after the best epoch so far.

  Returns:
    One `{'params': ..., 'batch_stats': ...}` per seed, or None if there is no readable checkpoint.
  """
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

  def read(manager: ocp.CheckpointManager, step: int) -> list[PyTree]:
    variables = manager.item_metadata(step)['tree'].tree
    wanted = [{part: {k: x[part][k] for k in ('params', 'batch_stats')}} for x in variables]
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), wanted)
    where = jax.tree.map(lambda a: ocp.ArrayRestoreArgs(sharding=device), shapes)
    asked = ocp.args.PyTreeRestore(item=shapes, restore_args=where, partial_restore=True)
    got = manager.restore(step, args=ocp.args.Composite(tree=asked))
    return [lane[part] for lane in got['tree']]

  return _newest(folder, read)


def meta(folder: pathlib.Path) -> dict[str, Any] | None:
  """Reads the metadata of the newest readable checkpoint, without writing any file.

  Args:
    folder: folder of the checkpoints.

  Returns:
    The `meta` of `save` (`seconds`, `notes`, `lanes`) and `step`, or None if there is no readable
    checkpoint.
  """

  def read(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    got = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
    return {**got['meta'], 'step': step}

  return _newest(folder, read)
