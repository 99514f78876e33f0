"""What the commands for finished runs share: how flags are read, and how a command ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from fass_jax.command.log import set_up_log
from fass_jax.config.lookup import did_you_mean
from fass_jax.types import UserError

CONFIG = '--config.'
HELP = ('--help', '-help', '-h', '--helpfull', '--helpshort')


class Words(NamedTuple):
  """A command line by its parts."""

  flags: dict[str, str]  # by name, those that were not given with their default
  sets: list[tuple[str, str]]  # `--config.KEY=VALUE` as (KEY, VALUE)
  rest: list[str]  # what is no flag
  given: list[tuple[str, str]] = []  # the flags as they stand there, for one that may be repeated


def read(
  argv: Sequence[str],
  defaults: Mapping[str, str],
  alone: Mapping[str, str] | None = None,
  config: bool = False,
) -> Words:
  """Splits a command line into flags and the rest; `--` ends the flags.

  Args:
    argv: arguments without the program's name.
    defaults: the flags that there are.
    alone: those that may stand without a value, and what that means.
    config: whether `--config.KEY=VALUE` is taken.

  Raises:
    UserError: for an unknown flag, or one without its value.
  """
  flags, sets, rest, args = dict(defaults), [], list[str](), list(argv)
  given: list[tuple[str, str]] = []
  while args:
    word = args.pop(0)
    if word == '--':
      rest += args
      break
    if not word.startswith('-') or word == '-':
      rest.append(word)
      continue
    name, equals, value = word.partition('=')
    key = config and ('--' + name.lstrip('-')).startswith(CONFIG)
    name = '--' + (name.lstrip('-') if key else name.lstrip('-').replace('-', '_'))
    if not key and name not in defaults:
      raise UserError(f"There is no flag '{word}'{did_you_mean(name, [*defaults, '--help'])}")
    if not equals and alone and name in alone:
      value = alone[name]
    elif not equals:
      if not args or args[0].startswith('--'):
        raise UserError(f'{name} needs a value: {name}=VALUE.')
      value = args.pop(0)
    if key:
      sets.append((name.removeprefix(CONFIG), value))
    else:
      flags[name] = value
      given.append((name, value))
  return Words(flags, sets, rest, given)


def check_choices(flags: Mapping[str, str], choices: Mapping[str, Iterable[str]]) -> None:
  """Makes sure that flags have one of their values.

  Raises:
    UserError: with the nearest value.
  """
  for name, known in choices.items():
    if flags[name] not in known:
      raise UserError(f"There is no '{flags[name]}' for {name}{did_you_mean(flags[name], known)}")


def help_topic(argv: Sequence[str]) -> str | None:
  """Returns what `--help TOPIC` or `--help=TOPIC` asks about, '' for all, None without --help."""
  for place, word in enumerate(argv):
    name, _, topic = word.partition('=')
    if name in HELP:
      after = next(iter(argv[place + 1 :]), '')
      return topic or ('' if after.startswith('-') else after)
  return None


def end(argv: Sequence[str], help_text: Callable[[], str], work: Callable[[], int]) -> int:
  """Runs a command; returns its exit code.

  Args:
    argv: arguments, for --help.
    help_text: returns what --help prints.
    work: returns the code; a `UserError` is printed, and the code is 1.
  """
  set_up_log()
  try:
    if help_topic(argv) is not None:
      print(help_text())
      return 0
    return work()
  except UserError as error:
    print(f'fass_jax: {error}', file=sys.stderr)
    return 1
  except BrokenPipeError:  # `| head`
    return 1
  except KeyboardInterrupt:
    return 130
  finally:
    _leave_stdout()


def _leave_stdout() -> None:
  """Drops what stdout cannot take, which Python would complain about once more at its exit."""
  try:
    sys.stdout.flush()
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
