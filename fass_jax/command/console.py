"""The command `fass-jax`: `fass-jax train ...` is `python -m fass_jax.main ...`, and so on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from fass_jax.config.lookup import did_you_mean

# command: (its module, what it does)
COMMANDS = {
  'train': ('fass_jax.main', 'trains a run, or continues one'),
  'predict': ('fass_jax.predict', 'classifies images with a finished run'),
  'evaluate': ('fass_jax.evaluate', 'evaluates a finished run, with another classifier or prior'),
  'neighbours': ('fass_jax.neighbours', 'chooses auxiliary images for the method extrapolate'),
  'embed': ('fass_jax.embed', 'draws the features of finished runs in the plane (t-SNE)'),
}


def help_text() -> str:
  """Returns the text of `fass-jax --help`."""
  rows = [f'  fass-jax {name:<10} {what}' for name, (_, what) in COMMANDS.items()]
  return '\n'.join(
    ['Train image classifiers on long-tailed data.', '', *rows, '', 'Each answers to --help.']
  )


def run(argv: Sequence[str] | None = None) -> int:
  """Runs a command; returns its exit code.

  Args:
    argv: the command and its arguments; None takes those of the process.
  """
  words = list(sys.argv[1:] if argv is None else argv)
  if not words or words[0] in ('--help', '-help', '-h'):
    print(help_text())
    return 0
  name, *rest = words
  if name not in COMMANDS:
    hint = did_you_mean(name, COMMANDS)
    print(f"fass_jax: There is no command '{name}'{hint}", file=sys.stderr)
    return 1
  return importlib.import_module(COMMANDS[name][0]).main(rest)
