"""Dotted keys of nested configs, such as 'streams.pair.rho'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def has(config: ConfigDict, key: str) -> bool:
  """Says whether a config has a dotted key that holds a value."""
  value: Any = config
  for name in key.split('.'):
    if not isinstance(value, ConfigDict) or name not in value:
      return False
    value = value[name]
  return not isinstance(value, ConfigDict)


def put(config: ConfigDict, key: str, value: Any) -> None:
  """Sets a dotted key, with the sections on the way to it if they are not there yet."""
  *sections, leaf = key.split('.')
  for name in sections:
    if name not in config:
      config[name] = ConfigDict()
    config = config[name]
  config[leaf] = value


def flatten(config: Mapping[str, Any], prefix: str = '', tuples: bool = False) -> dict[str, Any]:
  """Returns `{dotted key: value}` with tuples as lists, as JSON keeps them, or as they are."""
  flat: dict[str, Any] = {}
  for key, value in config.items():
    if isinstance(value, Mapping | ConfigDict):
      flat.update(flatten(value, f'{prefix}{key}.', tuples))
    else:
      flat[prefix + key] = value if tuples else json.loads(json.dumps(value))
  return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the nested dictionary of `{dotted key: value}`."""
  whole: dict[str, Any] = {}
  for key, value in flat.items():
    *sections, leaf = key.split('.')
    inner = whole
    for name in sections:
      inner = inner.setdefault(name, {})
    inner[leaf] = value
  return whole


def split_stage(key: str) -> tuple[str, str]:
  """Returns the `stages.NAME.` of a key, '' if it has none, and the rest."""
  if not key.startswith('stages.') or key.count('.') < 2:
    return '', key
  _, name, rest = key.split('.', 2)
  return f'stages.{name}.', rest
