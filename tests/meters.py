"""Counts what a device-resident epoch must not do: fetch an array, compile a program.

JAX's own transfer guard never sees a fetch on a CPU, where host and device share their memory.
"""

import contextlib
from typing import NamedTuple

import jax
import numpy as np
from jax import monitoring

Array = type(jax.numpy.zeros(()))


class Counts(NamedTuple):
  fetches: list
  compiles: list


@contextlib.contextmanager
def counted(monkeypatch):
  """Counts fetches and compilations inside; transfers to the device raise."""
  counts, on = Counts([], []), [True]

  def compiled(event, seconds, **more):
    if on[0] and event == '/jax/core/compile/backend_compile_duration':
      counts.compiles.append(seconds)

  def watch(owner, name, is_array):
    original = getattr(owner, name)

    def spy(*args, **more):
      if args and is_array(args[0]):
        counts.fetches.append(name)
      return original(*args, **more)

    patch.setattr(owner, name, spy)

  monitoring.register_event_duration_secs_listener(compiled)
  with monkeypatch.context() as patch, jax.transfer_guard_host_to_device('disallow'):
    value = Array._value

    def fetch(self):
      counts.fetches.append('_value')
      return value.fget(self)

    # float(), int(), bool(), str(), index and device_get come by _value
    patch.setattr(Array, '_value', property(fetch))
    for owner, name in ((Array, 'item'), (Array, '__iter__'), (np, 'asarray'), (np, 'array')):
      watch(owner, name, lambda x: isinstance(x, Array))
    try:
      yield counts
    finally:
      on[0] = False  # listeners cannot be taken back one by one
