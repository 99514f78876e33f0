"""Where prepared sets and compiled programs are kept."""

from __future__ import annotations

import os
import pathlib


def cache_dir(cache: str = '') -> pathlib.Path:
  """Return the folder of prepared sets: `cache`, else $FASS_JAX_CACHE, else ~/.cache/fass_jax."""
  return pathlib.Path(cache or os.environ.get('FASS_JAX_CACHE') or '~/.cache/fass_jax').expanduser()
