"""How programs are compiled and kept: XLA's options, the folder of compiled programs."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import jax

from fass_jax.config.cache import cache_dir


def use_cache(choice: str) -> None:
  """Keeps compiled programs on disk, so that only the first start of a run waits for them.

  Args:
    choice: a folder; 'auto' for `programs/` in the user's cache, unless jax was told another one
      (JAX_COMPILATION_CACHE_DIR); 'off'. The folder may be deleted at any time.
  """
  jax.config.update('jax_enable_compilation_cache', choice != 'off')
  if choice == 'off' or (choice == 'auto' and jax.config.values['jax_compilation_cache_dir']):
    return
  folder = cache_dir() / 'programs' if choice == 'auto' else pathlib.Path(choice).expanduser()
  jax.config.update('jax_compilation_cache_dir', str(folder.absolute()))
  # the small ones too: there are a hundred of them
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


@functools.cache
def compiler_options() -> dict[str, Any]:
  """Returns the options that every program with a network in it is compiled with.

  On a CPU XLA hands convolutions to a library that leaves all cores but one idle at small images;
  only reductions are left to it here, which makes a train step 1.1 to 1.3 times as fast. A version
  of jax that does not know the option goes without.
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
  """Returns the compiler's options for a program that runs once.

  On a CPU a lower level of optimisation compiles random initial parameters in a quarter of the
  time, to the same bits.
  """
  return {'xla_backend_optimization_level': 1} if jax.default_backend() == 'cpu' else None
