"""Compiler options and the persistent cache of compiled programs."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import jax

from fass_jax.config.cache import cache_dir


def use_cache(choice: str) -> None:
  """Caches compiled programs on disk, so that only the first start of a run has to compile.

  Args:
    choice: a folder; 'auto': `programs/` in the user's cache, or JAX_COMPILATION_CACHE_DIR if set;
      'off'. The folder may be deleted at any time.
  """
  jax.config.update('jax_enable_compilation_cache', choice != 'off')
  if choice == 'off' or (choice == 'auto' and jax.config.values['jax_compilation_cache_dir']):
    return
  folder = cache_dir() / 'programs' if choice == 'auto' else pathlib.Path(choice).expanduser()
  jax.config.update('jax_compilation_cache_dir', str(folder.absolute()))
  # cache small programs too: a run has about a hundred of them
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


@functools.cache
def compiler_options() -> dict[str, Any]:
  """Returns the compiler options for programs that contain a network.

  On a CPU, XLA delegates convolutions to a library that uses only one core for small images. These
  options delegate only reductions, which makes a train step 1.1 to 1.3 times as fast. The result is
  empty if the jax version does not support the option.
  """
  if jax.default_backend() != 'cpu':
    return {}
  options: dict[str, Any] = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE'}
  try:
    jax.jit(lambda x: x).lower(0).compile(compiler_options=options)
  except (jax.errors.JaxRuntimeError, ValueError):
    return {}
  return options


def quick_options() -> dict[str, Any] | None:
  """Returns the compiler options for a program that runs only once.

  On a CPU, a lower optimisation level compiles the initialisation of parameters in a quarter of the
  time, with bit-identical results.
  """
  return {'xla_backend_optimization_level': 1} if jax.default_backend() == 'cpu' else None
