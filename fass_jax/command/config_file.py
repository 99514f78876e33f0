"""From a command line to a resolved config."""

from __future__ import annotations

import pathlib
import runpy
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from fass_jax.command import flags
from fass_jax.command.overrides import override
from fass_jax.config.deltas import config_dir, flatten
from fass_jax.config.lookup import did_you_mean
from fass_jax.types import UserError

RECIPE = '--recipe'
FLAGS = {'--config': '', '--workdir': '', RECIPE: ''}


def shipped() -> list[str]:
  """Returns the files of the config folder that are configs of runs."""
  files = sorted(config_dir().glob('*.py'))
  return [p.name for p in files if '\ndef get_config(' in p.read_text()]


def _read_config(value: str) -> ConfigDict:
  """Runs a config file, `path:methods`; shipped configs are found from anywhere.

  The file is run here and not by ml_collections' own flag, which loads it through an interface
  that Python is about to drop; the overrides are ml_collections'.
  """
  path, _, names = value.partition(':')
  for candidate in (pathlib.Path(path), config_dir() / pathlib.Path(path).name):
    if candidate.is_file():
      return runpy.run_path(str(candidate))['get_config'](*([names] if names else []))
  known = [f'configs/{name}' for name in shipped()]
  raise UserError(f"There is no config file '{path}'{did_you_mean(path, known)}")


def read(argv: Sequence[str]) -> flags.Words:
  """Splits the command line of a run.

  Args:
    argv: arguments without the program's name.

  Raises:
    UserError: for an unknown flag, or one without its value.
  """
  words = flags.read(argv, FLAGS, {RECIPE: 'true'}, config=True)
  for word in words.rest:
    name = '--' + word.partition('=')[0]
    raise UserError(f"There is no flag '{word}'{did_you_mean(name, [*FLAGS, '--help'])}")
  flags.check_choices(words.flags, {RECIPE: ('', 'true', 'false')})
  return words


def resolve(words: flags.Words) -> ConfigDict:
  """Returns the locked config that a command line asks for.

  Raises:
    UserError: for an unknown file, method, key or value.
  """
  value = words.flags['--config'] or f'{config_dir() / "digits_lt.py"}'
  return override(_read_config(value), words.sets)


def load_config(argv: Sequence[str]) -> tuple[ConfigDict, str, dict[str, Any]]:
  """Reads the command line of a run.

  Args:
    argv: arguments without the program's name.

  Returns:
    The locked config, the work directory ('' if none was given), and the overrides.

  Raises:
    UserError: as `read` and `resolve`.
  """
  words = read(argv)
  config = resolve(words)
  return config, words.flags['--workdir'], {key: flatten(config)[key] for key, _ in words.sets}
