"""What stands behind `--config.KEY=` on a command line, set in a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from fass_jax.config import stages
from fass_jax.config.deltas import flatten, put
from fass_jax.config.key import KINDS
from fass_jax.config.lookup import did_you_mean
from fass_jax.config.renamed import instead, losses_of
from fass_jax.types import UserError

MISREAD = (flags.Error, TypeError, ValueError, SyntaxError)  # what a value of another kind raises


def _as_given(value: Any) -> Any:
  """Returns JSON's lists as the tuples that a command line takes."""
  return tuple(map(_as_given, value)) if isinstance(value, list) else value


def _has_words(value: Any) -> bool:
  return any(map(_has_words, value)) if isinstance(value, list) else isinstance(value, str)


def override(config: ConfigDict, sets: Sequence[tuple[str, str]]) -> ConfigDict:
  """Sets keys of a config, in place, from what stood behind `--config.KEY=`; returns it locked.

  Raises:
    UserError: for an unknown key, or a value of another kind.
  """
  known = _known_keys(config, [key for key, _ in sets])
  try:  # all at once, because each reading goes through the whole config
    _read_values(config, sets, known)
  except MISREAD:
    for key, given in sets:
      try:
        _read_values(config, [(key, given)], known)
      except MISREAD as error:
        now = known[key]
        such = '' if isinstance(now, bool) else f' such as {_as_given(now)!r}'
        raise UserError(
          f'--config.{key}={given} is not of the right kind: it expects {KINDS[type(now)]}{such}.'
        ) from error
  return config.lock()


def _known_keys(config: ConfigDict, wanted: Sequence[str]) -> dict[str, Any]:
  """Returns the keys of a config with their values, those of stages that are wanted put in."""
  known = flatten(config)
  if any(key.startswith('stages.') and key not in known for key in wanted):
    more = stages.keys(config)
    with config.unlocked():
      for key in wanted:
        if key in more and key not in known:  # one that no method sets for the stage
          put(config, key, more[key])
    known = more | flatten(config)
  for key in wanted:
    if key.startswith('stages.') and not config.stages:
      raise UserError(
        f"There is no config key '{key}': '{config.method}' has no stages; the key of the run is "
        f"'{key.split('.', 2)[-1]}'."
      )
    if key not in known:
      other = instead(key, losses_of(known)) or (
        f' with method {config.method}{did_you_mean(key, known)}'
      )
      raise UserError(f"There is no config key '{key}'{other}")
  return known


def _read_values(
  config: ConfigDict, sets: Sequence[tuple[str, str]], known: Mapping[str, Any]
) -> None:
  if not sets:
    return
  values = flags.FlagValues()
  words = ['fass_jax', *(f'--config.{key}={given}' for key, given in sets)]
  config_flags.DEFINE_config_dict('config', config, flag_values=values, sys_argv=words)
  values(words)
  now = flatten(config)
  for key, given in sets:
    if [] not in (known[key], now[key]) and _has_words(now[key]) != _has_words(known[key]):
      raise ValueError(given)  # `red` became the tuple ('red',)
