"""The config keys that commands for finished runs take: they say where and how fast, not what."""

from __future__ import annotations

from collections.abc import Iterable

from fass_jax.types import UserError


def free_keys() -> list[str]:
  """Returns the keys; a run has the same auxiliary classes wherever they are."""
  from fass_jax.config.keys import FREE  # late: --help of other flags answers without it

  kept = ('checkpoint.', 'engine.processes')
  return [*(key for key in FREE if key not in kept), 'data.auxiliary', 'data.neighbours']


def check_sets(sets: Iterable[tuple[str, str]]) -> None:
  """Refuses `--config.KEY=VALUE` for other keys.

  Raises:
    UserError: for the first of them.
  """
  free = free_keys()
  for key, value in sets:
    if key not in free:
      raise UserError(
        f'--config.{key}={value} would make this another run; here only {", ".join(free)} may be '
        'given.'
      )
