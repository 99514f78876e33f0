"""Paths of a tree's leaves, e.g. `head/heads_0/kernel`; parts of a network are path prefixes."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from fass_jax.types import PyTree, UserError


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def flat(tree: PyTree) -> dict[str, Any]:
  """Returns `{path: leaf}`."""
  return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def mapped(function: Callable[[str, Any], Any], tree: PyTree) -> PyTree:
  """Returns the tree with each leaf replaced by `function(path, leaf)`."""
  return jax.tree_util.tree_map_with_path(lambda path, x: function(_name(path), x), tree)


def prefixes(value: str | Iterable[str]) -> tuple[str, ...]:
  """Returns a config value as prefixes without leading and trailing slashes."""
  return tuple(p.strip('/') for p in ((value,) if isinstance(value, str) else value))


def inside(path: str, parts: Sequence[str]) -> bool:
  """Returns True if a path is one of the parts or inside of one.

  '' is the whole tree, and * matches any names: '*/bias' matches every bias.
  """
  return any(
    not part or fnmatch.fnmatchcase(path, part) or fnmatch.fnmatchcase(path, f'{part}/*')
    for part in parts
  )


def check(parts: Sequence[str], tree: PyTree, key: str) -> None:
  """Checks that every part has a leaf.

  Raises:
    UserError: if a part has none; the message lists the existing parts down to the second level.
  """
  known = list(flat(tree))
  for part in parts:
    if not any(inside(path, (part,)) for path in known):
      there = dict.fromkeys('/'.join(path.split('/')[:2]) for path in known)
      raise UserError(
        f"--config.{key} names '{part}', but the network has no such parameters; choose from "
        f'{", ".join(there)}.'
      )
