"""Writes the parts of README.md that the code knows better: equations and methods.

python launch/readme.py            rewrites them
python launch/readme.py --check    says whether they are current (exit code 1 if not)
"""

from __future__ import annotations

import ast
import pathlib
import re
import runpy
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
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


def methods() -> str:
  """Returns the table of methods, read from configs/methods.py."""
  about = runpy.run_path(str(REPO / 'configs' / 'methods.py'))['ABOUT']
  rows = [
    f'| `{name}` | {what} | {reference} | {fills} |'
    for name, (what, reference, fills) in about.items()
  ]
  return '\n'.join(['| config string | method | reference | fills |', '|---|---|---|---|', *rows])


def render(text: str) -> str:
  """Returns the README with its generated parts replaced."""
  for name, body in (('equations', equations()), ('methods', methods())):
    begin, end = f'<!-- {name} -->', f'<!-- end {name} -->'
    head, rest = text.split(begin)
    text = f'{head}{begin}\n{body}\n{end}{rest.split(end)[1]}'
  return text


def main(argv: list[str]) -> int:
  """Runs the command line."""
  readme = REPO / 'README.md'
  old = readme.read_text()
  new = render(old)
  if '--check' in argv:
    if old != new:
      print('README.md is not current; run: python launch/readme.py')
    return int(old != new)
  readme.write_text(new)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
