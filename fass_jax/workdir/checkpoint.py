"""Checkpoints with Orbax: the state, the best parameters so far, and where the run stands.

Every checkpoint is self-contained. The best parameters travel inside the newest checkpoint
instead of being kept as a checkpoint of their own, so no retention rule can drop the newest one
for a poor metric, and a resumed run knows its best epoch exactly.
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
  """Opens (or creates) the checkpoints of a work directory.

  Args:
    folder: where they lie; made absolute, as Orbax asks.
    keep: how many of the newest are kept; two survive a damaged newest one.
  """
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep, step_prefix='step', cleanup_tmp_directories=True
  )
  return ocp.CheckpointManager(folder.absolute(), options=options)


def save(manager: ocp.CheckpointManager, step: int, tree: PyTree, meta: dict[str, Any]) -> None:
  """Starts saving; the arrays are copied before this returns, the files follow meanwhile.

  Args:
    manager: from `open_manager`.
    step: steps done.
    tree: arrays only.
    meta: plain JSON values.
  """
  if step in manager.all_steps():
    return  # a run is a function of its step: what is there is the same
  manager.save(
    step,
    args=ocp.args.Composite(tree=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta)),
  )


def restore(
  manager: ocp.CheckpointManager, make: Callable[[], PyTree], where: Placement = ALONE
) -> tuple[int, PyTree, dict[str, Any]] | None:
  """Reads the newest checkpoint that can be read.

  A damaged one is passed over with a warning and removed, so that its step can be saved again.

  Args:
    manager: from `open_manager`.
    make: builds a tree of the right shapes; only its shapes are used.
    where: the devices to put it on, however many wrote it.

  Returns:
    `(step, tree, meta)`, or None where there is no checkpoint.

  Raises:
    UserError: if there are checkpoints and none can be read.
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
    except Exception as error:  # Orbax and TensorStore raise many kinds for a broken file
      damaged.append(step)
      reason = str(error).strip().split('\n')[0][:200]
      log.warning('Checkpoint %d is damaged and was passed over (%s).', step, reason)
      continue
    for bad in damaged:
      manager.delete(bad)
    return step, got.tree, got.meta
  if damaged:
    raise UserError(
      f'None of the checkpoints in {manager.directory} can be read; remove that folder to start '
      'the run anew, or choose another --workdir.'
    )
  return None


def _newest(folder: pathlib.Path, read: Callable[[ocp.CheckpointManager, int], Any]) -> Any:
  """Returns what `read(manager, step)` makes of the newest checkpoint that it can read, or None."""
  if not folder.is_dir():
    return None
  options = ocp.CheckpointManagerOptions(read_only=True, create=False, step_prefix='step')
  handlers = {'tree': ocp.PyTreeCheckpointHandler(), 'meta': ocp.JsonCheckpointHandler()}
  with ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        return read(manager, step)
      except Exception as error:  # many kinds for a broken file, as in `restore`
        reason = str(error).strip().split('\n')[0][:200]
        log.warning('Checkpoint %d of %s was passed over (%s).', step, folder, reason)
  return None


def variables(folder: pathlib.Path, part: str = 'state') -> list[PyTree] | None:
  """Reads the networks of the newest checkpoint that can be read; nothing is written.

  Args:
    folder: the checkpoints of a work directory, of whatever config.
    part: 'state', after the last step, or 'best', of the best epoch until then.

  Returns:
    For each run in it, `{'params': ..., 'batch_stats': ...}`; None where there is no checkpoint
    that can be read.
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
  """Reads where the runs of a work directory stand: `seconds`, `notes`, `lanes`; writes nothing.

  Args:
    folder: the checkpoints of a work directory.

  Returns:
    What `save` was given with the newest checkpoint that can be read, and its `step`; None where
    there is none.
  """

  def read(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    got = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
    return {**got['meta'], 'step': step}

  return _newest(folder, read)
