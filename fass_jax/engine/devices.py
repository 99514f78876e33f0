"""Placement of arrays: one code path for one device, several devices and several processes.

State, store and plan are replicated on all devices; batches are sharded by rows inside the compiled
step. Every sum of a step is therefore over the global batch: losses, gradients, the score matrix,
class levels, metrics and the statistics of batch normalisation.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fass_jax.types import ALONE, Array, Placement, PyTree, UserError

# launch/local.py sets these: the number of processes, and the index of this process
LOCAL = ('FASS_JAX_PROCESSES', 'FASS_JAX_PROCESS')


def join(choice: str) -> None:
  """Connects the processes of a run; call this before any other use of jax devices.

  Args:
    choice: 'auto': connect if a launcher has started several processes (`launch/local.py`, a SLURM
      step with several tasks, Open MPI); 'on': always connect, with jax's own detection (TPU pods,
      Kubernetes); 'off': never connect.

  Raises:
    UserError: if jax cannot find the other processes.
  """
  if choice == 'off' or jax.distributed.is_initialized():
    return
  known: dict[str, Any] = {}
  if LOCAL[0] in os.environ:
    count, number = (int(os.environ[name]) for name in LOCAL)
    known = {'num_processes': count, 'process_id': number}
  elif choice == 'auto' and _tasks() < 2:
    return
  try:
    jax.distributed.initialize(**known)
  except (ValueError, RuntimeError) as error:
    raise UserError(
      f'The processes of this run could not connect ({error}); start them with launch/local.py or '
      'launch/slurm.sh, or run a single process with --config.engine.processes=off.'
    ) from error


def _tasks() -> int:
  """Returns the number of processes that a scheduler has started for this run, 0 if unknown."""
  names = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')
  return max((int(os.environ.get(name, 0)) for name in names), default=0)


def place(count: int = 0) -> Placement:
  """Returns the placement on `count` devices; 0 means all devices of all processes.

  Raises:
    UserError: if fewer devices exist, or several processes would not use all devices.
  """
  there = jax.devices()
  count = count or len(there)
  if not 0 < count <= len(there) or (several() and count != len(there)):
    raise UserError(
      f'--config.engine.devices={count} is not possible: there are {len(there)} devices, and '
      'several processes must use all of them; give a smaller number, or 0 for all.'
    )
  if count == 1:
    return ALONE
  # axis type Auto: the compiler partitions the work; the default type cannot permute a batch
  mesh = jax.make_mesh((count,), ('data',), axis_types=(AxisType.Auto,), devices=there[:count])
  rows = NamedSharding(mesh, PartitionSpec('data'))
  return Placement(NamedSharding(mesh, PartitionSpec()), rows)


def copy(tree: PyTree, where: Placement) -> PyTree:
  """Replicates host arrays on all devices; all processes must pass equal arrays."""
  if where.whole is None:
    return jax.tree.map(jax.device_put, tree)

  def one(x: np.ndarray) -> Array:
    x = np.asarray(x)
    # not device_put, which would send the array to all processes to compare it
    return jax.make_array_from_callback(x.shape, where.whole, lambda index: x[index])

  return jax.tree.map(one, tree)


def key(seed: int, where: Placement) -> Array:
  """Returns `jax.random.key(seed)`, replicated on all devices."""
  made = jax.random.key(seed)
  if where.whole is None:
    return made
  return jax.random.wrap_key_data(copy(jax.random.key_data(made), where))


def replicate(tree: PyTree, where: Placement) -> PyTree:
  """Replicates the leaves of a state that are not replicated yet."""
  if where.whole is None:
    return tree

  def one(x: Array) -> Array:
    there = x.sharding.is_equivalent_to(where.whole, x.ndim)
    return x if there else copy(np.asarray(x), where)

  return jax.tree.map(one, tree)


def padded(n: int, where: Placement) -> int:
  """Returns the smallest number of rows >= n that is divisible by the number of devices."""
  parts = 1 if where.rows is None else where.rows.num_devices
  return -(-n // parts) * parts


def own_rows(n: int, where: Placement) -> np.ndarray:
  """Returns the rows of a batch on this process's devices; n is a result of `padded`."""
  if where.rows is None:
    return np.arange(n)
  slices = where.rows.addressable_devices_indices_map((n,)).values()
  return np.unique(np.concatenate([np.arange(n)[i] for i in slices]))


def batch(x: np.ndarray, where: Placement) -> Array:
  """Shards a host batch by rows; only `own_rows` of x are read."""
  if where.rows is None:
    return jax.device_put(x)
  return jax.make_array_from_callback(x.shape, where.rows, lambda index: x[index])


def first() -> bool:
  """Returns True for the process that writes files and logs."""
  return jax.process_index() == 0


def several() -> bool:
  """Returns True if the run has several processes."""
  return jax.process_count() > 1


def agreed(flag: bool) -> bool:
  """Returns the flag of the first process, in all processes."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.broadcast_one_to_all(np.asarray(flag)))


def meet(name: str) -> None:
  """Waits until all processes have called this function."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def first_alone(work: Callable[[], Any]) -> None:
  """Runs `work` in the first process only, e.g. to write files; the other processes wait."""
  if first():
    work()
  meet('done')


def first_before_others(work: Callable[[], Any]) -> Any:
  """Runs `work` in the first process, then in the others, which find its cached results."""
  done = work() if first() else None
  meet('prepared')
  return done if first() else work()


def agreed_stop(stop: Callable[[], str]) -> Callable[[int], str]:
  """Returns `stop(step)`, the signal that stops all processes before the next step, or ''.

  With several processes, a signal to one of them stops all of them at the same step. jax reports
  this step once, so the result is stored.

  Args:
    stop: returns '' or the name of a signal; used if there is only one process.
  """
  came = ['']

  def shared(step: int) -> str:
    if not came[0] and multihost_utils.reached_preemption_sync_point(step):
      came[0] = signal.Signals.SIGTERM.name
    return came[0]

  return shared if jax.process_count() > 1 else lambda step: stop()
