"""Where arrays lie: one code path for one device, several, and several processes.

State, store and plan are on every device as a whole; batches are spread over the devices by rows,
inside the compiled step. So every sum of a step is over the global batch: losses, gradients, the
score matrix, class levels, metrics, and the statistics of batch normalisation too.
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

# a launcher of each kind leaves these: how many processes, and which one this is
LOCAL = ('FASS_JAX_PROCESSES', 'FASS_JAX_PROCESS')


def join(choice: str) -> None:
  """Joins the processes of a run, before anything else asks jax for a device.

  Args:
    choice: 'auto' joins where a launcher says that there are several processes: `launch/local.py`,
      a SLURM step of several tasks, Open MPI; 'on' where jax finds out itself (TPU pods,
      Kubernetes); 'off'.

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
      f'The processes of this run did not find each other ({error}); start them by '
      'launch/local.py or launch/slurm.sh, or run one with --config.engine.processes=off.'
    ) from error


def _tasks() -> int:
  """Returns how many processes a scheduler started beside this one, itself counted."""
  names = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')
  return max((int(os.environ.get(name, 0)) for name in names), default=0)


def place(count: int = 0) -> Placement:
  """Returns the placement over `count` devices, or all devices of all processes if 0.

  Raises:
    UserError: if there are not so many, or several processes would not all have a part.
  """
  there = jax.devices()
  count = count or len(there)
  if not 0 < count <= len(there) or (several() and count != len(there)):
    raise UserError(
      f'--config.engine.devices={count} is not to be had: there are {len(there)} devices, and '
      'several processes take them all; give a smaller number, or 0 for all.'
    )
  if count == 1:
    return ALONE
  # axes of kind Auto: the compiler splits the work; the default kind refuses to permute a batch
  mesh = jax.make_mesh((count,), ('data',), axis_types=(AxisType.Auto,), devices=there[:count])
  rows = NamedSharding(mesh, PartitionSpec('data'))
  return Placement(NamedSharding(mesh, PartitionSpec()), rows)


def copy(tree: PyTree, where: Placement) -> PyTree:
  """Puts host arrays on every device; each process has to bring the same ones."""
  if where.whole is None:
    return jax.tree.map(jax.device_put, tree)

  def one(x: np.ndarray) -> Array:
    x = np.asarray(x)
    # not device_put: it would send the whole array round to compare it between processes
    return jax.make_array_from_callback(x.shape, where.whole, lambda index: x[index])

  return jax.tree.map(one, tree)


def key(seed: int, where: Placement) -> Array:
  """Returns `jax.random.key(seed)` on every device."""
  made = jax.random.key(seed)
  if where.whole is None:
    return made
  return jax.random.wrap_key_data(copy(jax.random.key_data(made), where))


def replicate(tree: PyTree, where: Placement) -> PyTree:
  """Puts the leaves of a state that were computed elsewhere back on every device."""
  if where.whole is None:
    return tree

  def one(x: Array) -> Array:
    there = x.sharding.is_equivalent_to(where.whole, x.ndim)
    return x if there else copy(np.asarray(x), where)

  return jax.tree.map(one, tree)


def padded(n: int, where: Placement) -> int:
  """Returns the least number of rows, at least n, that the devices divide."""
  parts = 1 if where.rows is None else where.rows.num_devices
  return -(-n // parts) * parts


def own_rows(n: int, where: Placement) -> np.ndarray:
  """Returns the rows of a batch of n (from `padded`) that lie on devices of this process."""
  if where.rows is None:
    return np.arange(n)
  slices = where.rows.addressable_devices_indices_map((n,)).values()
  return np.unique(np.concatenate([np.arange(n)[i] for i in slices]))


def batch(x: np.ndarray, where: Placement) -> Array:
  """Puts a batch on the devices by rows; only `own_rows` of x are read."""
  if where.rows is None:
    return jax.device_put(x)
  return jax.make_array_from_callback(x.shape, where.rows, lambda index: x[index])


def first() -> bool:
  """Says whether this process is the one that writes files and talks."""
  return jax.process_index() == 0


def several() -> bool:
  """Says whether the run has several processes."""
  return jax.process_count() > 1


def agreed(flag: bool) -> bool:
  """Returns the flag of the first process, to all of them."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.broadcast_one_to_all(np.asarray(flag)))


def meet(name: str) -> None:
  """Waits until every process is here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def first_alone(work: Callable[[], Any]) -> None:
  """Lets the first process do what is to be done once, such as writing files; the others wait."""
  if first():
    work()
  meet('done')


def first_before_others(work: Callable[[], Any]) -> Any:
  """Lets the first process do a thing that leaves something behind for the others, a cache."""
  done = work() if first() else None
  meet('prepared')
  return done if first() else work()


def agreed_stop(stop: Callable[[], str]) -> Callable[[int], str]:
  """Returns `stop(step)`: why all processes stop before the next step, '' to go on.

  A signal to one process of several becomes the same step for all: jax agrees on one, and says so
  at that step only, so the answer is kept.

  Args:
    stop: '' or the name of a signal; asked where there is one process.
  """
  came = ['']

  def shared(step: int) -> str:
    if not came[0] and multihost_utils.reached_preemption_sync_point(step):
      came[0] = signal.Signals.SIGTERM.name
    return came[0]

  return shared if jax.process_count() > 1 else lambda step: stop()
