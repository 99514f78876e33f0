"""Configs: every key with its default, methods as deltas over them, stages.

These names are what a config file imports.
"""

from fass_jax.config.deltas import (
  Method,
  base_config,
  config_dir,
  image_config,
  method_rows,
  methods,
  number_config,
  of_numbers,
  with_methods,
)

__all__ = [
  'Method',
  'base_config',
  'config_dir',
  'image_config',
  'method_rows',
  'methods',
  'number_config',
  'of_numbers',
  'with_methods',
]
