"""Writes what the code knows better: the equations in README.md, and docs/methods.md.

python launch/readme.py            rewrites them
python launch/readme.py --check    says whether they are current (exit code 1 if not)
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

from fass_jax.config.deltas import families

INTRO = """\
Written by `python launch/readme.py` from `configs/methods/`. A config string stands after the colon
of `--config=FILE:METHOD`; `+` joins several. `python -m fass_jax.main --help METHOD` prints what a
method sets."""
ABOUT = {
  '1': 'images of class i at an imbalance factor',
  '2': 'effective number of samples',
  '3': 'score matrix: class mean of the softmax',
  '4': 'target class',
  '5': 'mixing ratio lambda',
  '6': 'MixUp',
  '7': 'CutMix',
  '8a': 'single label of a mix',
  '8b': 'feature separation loss L_FS',
  '9': 'total loss',
}


def equations() -> str:
  """Returns the table from equation to function, read from the docstrings."""
  homes = {}
  for path in sorted((REPO / 'fass_jax').rglob('*.py')):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef):
        for number in re.findall(r'Thesis: Eq\. \((\w+)\)', ast.get_docstring(node) or ''):
          homes[number] = (path.relative_to(REPO).as_posix(), node.name)
  rows = [f'| ({n}) | {what} | [`{homes[n][1]}`]({homes[n][0]}) |' for n, what in ABOUT.items()]
  return '\n'.join(['| equation | what | function |', '|---|---|---|', *rows])


def equations_in(text: str) -> str:
  """Returns the README with its table of equations replaced."""
  begin, end = '<!-- equations -->', '<!-- end equations -->'
  head, rest = text.split(begin)
  return f'{head}{begin}\n{equations()}\n{end}{rest.split(end)[1]}'


def methods() -> str:
  """Returns docs/methods.md, a table per family, read from configs/methods/."""
  parts = ['# Methods', INTRO]
  for title, rows in families().items():
    lines = ['| config string | method | reference | what it changes |', '|---|---|---|---|']
    lines += [f'| `{name}` | {m.title} | {m.reference} | {m.fills} |' for name, m in rows.items()]
    parts += [f'## {title}', '\n'.join(lines)]
  return '\n\n'.join(parts) + '\n'


def main(argv: list[str]) -> int:
  """Runs the command line."""
  readme, page = REPO / 'README.md', REPO / 'docs' / 'methods.md'
  old = {path: path.read_text() if path.exists() else '' for path in (readme, page)}
  new = {readme: equations_in(old[readme]), page: methods()}
  stale = [path for path in new if new[path] != old[path]]
  if '--check' in argv:
    for path in stale:
      print(f'{path.relative_to(REPO)} is not current; run: python launch/readme.py')
    return int(bool(stale))
  for path in stale:
    path.write_text(new[path])
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
