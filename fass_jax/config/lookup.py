"""Looking a name up, with a sentence that helps where it is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from fass_jax.types import UserError


def did_you_mean(word: str, known: Iterable[str]) -> str:
  """Returns `; did you mean 'x'?` for the nearest known word, or a list of all if none is near."""
  known = sorted(filter(None, known))
  if word.lower() in known:
    return f"; did you mean '{word.lower()}'?"
  near = difflib.get_close_matches(word, known, 1, 0.5)
  if not near:
    # a key of another section: the same last part is near enough
    near = [k for k in known if k.split('.')[-1] == word.split('.')[-1]]
  return f"; did you mean '{near[0]}'?" if near else f'; there are {", ".join(known)}.'


def pick(table: Mapping[str, Any], name: str, key: str) -> Any:
  """Looks a name up; a wrong one ends in a sentence that names the config key."""
  if name not in table:
    raise UserError(f"There is no '{name}' for --config.{key}{did_you_mean(name, table)}")
  return table[name]


def one_of(name: str, known: Iterable[str], key: str) -> str:
  """Returns the name if it is known, else raises as `pick` does."""
  return pick({k: k for k in known}, name, key)
