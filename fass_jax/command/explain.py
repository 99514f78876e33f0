"""What `--help` says: the flags, a config key by its row, a method by its row."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from fass_jax.command.config_file import shipped
from fass_jax.command.flags import CONFIG, help_topic
from fass_jax.config.check import known_keys
from fass_jax.config.deltas import config_dir, families, method_rows
from fass_jax.config.key import Key, bounds, expects
from fass_jax.config.keys import row_of
from fass_jax.config.lookup import did_you_mean
from fass_jax.config.renamed import instead
from fass_jax.types import UserError


def answer(argv: Sequence[str], text: str) -> str:
  """Returns what a command line with --help asks for.

  Args:
    argv: arguments without the program's name.
    text: of --help alone, with places for {folder}, {configs} and {methods}.

  Raises:
    UserError: for a name that is neither a key nor a method.
  """
  topic = help_topic(argv)
  if topic:
    return explain(topic)
  # the second line is indented as the place in the text is
  configs = '\n  '.join(textwrap.wrap('  '.join(shipped()), 98))
  return text.format(folder=config_dir(), configs=configs, methods=list_methods())


def list_methods() -> str:
  """Returns the methods by family, a line each."""
  lines = []
  for title, rows in families().items():
    lines.append(f'  {title}')
    lines += [f'    {name:17} {row.title}' for name, row in rows.items()]
  return '\n'.join(lines)


def explain(topic: str) -> str:
  """Returns the rows of a config key, or of the methods of a string such as 'ldam+fass'.

  Raises:
    UserError: for a name that is neither a key nor a method.
  """
  name = topic.removeprefix(CONFIG)
  row = row_of(name)
  parts = [] if row is None else [explain_key(name, row)]
  rows = method_rows()
  if not parts:
    for word in name.split('+'):
      if word not in rows:
        other = instead(word) or did_you_mean(word, [*known_keys(), *rows])
        raise UserError(f"There is no config key or method '{word}'{other}")
      parts.append(explain_method(word))
  return '\n\n'.join(parts)


def _table(head: str, rows: Sequence[tuple[str, str]]) -> str:
  return '\n'.join([head, '', *(f'  {name:10} {text}' for name, text in rows if text)])


def explain_key(name: str, row: Key) -> str:
  """Returns the row of a config key as text."""
  names = ', '.join(row.choices)
  if row.table:
    names += f'{", or " if names else ""}a name of the {row.table}'
  rows = [
    ('default', repr(row.default)),
    ('expects', f'{expects(row)} {bounds(row)}'.strip()),
    ('one of', names),
    ('read by', ', '.join(row.of)),
  ]
  return _table(f'--config.{name}\n  {row.help}', rows)


def explain_method(name: str) -> str:
  """Returns the row of a method as text."""
  row = method_rows()[name]
  family = next(title for title, rows in families().items() if name in rows)
  sets = [('sets' if i == 0 else '', f'{k} = {v!r}') for i, (k, v) in enumerate(row.delta.items())]
  rows = [
    ('family', family),
    ('reference', row.reference),
    ('fills', row.fills),
    ('needs', 'the work directory of a finished run' if row.needs_run else ''),
    *sets,
  ]
  return _table(f'{name}\n  {row.title}', rows)
