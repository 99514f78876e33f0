"""The promises of the layout: which way imports point, and one home for every equation."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

from fass_jax.config import method_rows
from tests import runs

PACKAGE = runs.REPO / 'fass_jax'
FILES = sorted(PACKAGE.rglob('*.py'))
# from the bottom to the top: a room may import those of the levels below, and none of its own level
LEVELS = (
  ('types', 'score', 'mixing', 'regression'),
  ('counts', 'config', 'augment', 'signals'),
  ('data', 'sampling', 'losses', 'nets', 'command'),
  ('classifiers', 'workdir'),
  ('recipe',),
  ('engine',),
  ('report',),
  ('run',),
  ('main', 'predict', 'evaluate', 'embed', 'neighbours'),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
# doors that need less than the level below them
HIGHEST = {'predict': 'engine', 'evaluate': 'report', 'embed': 'report', 'neighbours': 'report'}


def imported(path):
  """Returns the rooms of the package that a file imports: folders and files directly in it."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('fass_jax'):
      rest = node.module.removeprefix('fass_jax').strip('.')
      found |= {rest.split('.')[0]} if rest else {a.name for a in node.names}
    elif isinstance(node, ast.Import):
      found |= {a.name.split('.')[1] for a in node.names if a.name.startswith('fass_jax.')}
  return found


def test_the_levels_name_every_room():
  here = {p.stem for p in PACKAGE.iterdir() if p.suffix in ('', '.py') and p.stem[:2] != '__'}
  assert here == LEVEL.keys()
  folders = [p for p in PACKAGE.iterdir() if p.is_dir() and p.name != '__pycache__']
  # 8 modules, and one for each command that came later: embed, neighbours
  assert len(folders) <= 15 and len(list(PACKAGE.glob('*.py'))) <= 10


@pytest.mark.parametrize('room', LEVEL)
def test_imports_point_down(room):
  """No room imports one of its own level or above; so there is no circle."""
  top = LEVEL[HIGHEST[room]] + 1 if room in HIGHEST else LEVEL[room]
  for path in FILES:
    if path.relative_to(PACKAGE).parts[0].removesuffix('.py') == room:
      used = imported(path) - {room}
      above = {r for r in used if LEVEL[r] >= top}
      assert not above, f'{path.relative_to(PACKAGE)} imports {above}'


def test_only_nets_imports_flax():
  users = {p.parent.name for p in FILES if re.search(r'^(from|import) flax', p.read_text(), re.M)}
  assert users == {'nets'}


def test_sizes():
  for path in FILES:
    text = path.read_text()
    assert text.count('\n') <= 300, path
    for node in ast.walk(ast.parse(text)):
      if isinstance(node, ast.FunctionDef):
        assert node.end_lineno - node.lineno < 60, (path, node.name)


EQUATIONS = ['1', '2', '3', '4', '5', '6', '7', '8a', '8b', '9']


def test_every_equation_is_in_exactly_one_docstring():
  found = re.findall(r'Thesis: Eq\. \((\w+)\)', ''.join(p.read_text() for p in FILES))
  assert sorted(found) == EQUATIONS


def test_the_generated_parts_of_the_readme_are_current():
  result = subprocess.run(
    [sys.executable, 'launch/readme.py', '--check'], cwd=runs.REPO, capture_output=True, text=True
  )
  assert result.returncode == 0, result.stdout + result.stderr


def test_the_pages_name_every_equation_and_method():
  text = (runs.REPO / 'README.md').read_text()
  for number in EQUATIONS:
    assert f'| ({number}) |' in text
  assert '(docs/methods.md)' in text
  text = (runs.REPO / 'docs' / 'methods.md').read_text()
  for name, row in method_rows().items():
    assert text.count(f'| `{name}` | {row.title} |') == 1


def parts_of(diff):
  """Returns the files of a diff and their lines, without the lines that say where."""
  parts = re.split(r'^--- .*\n\+\+\+ b/(.*)\n', diff, flags=re.M)[1:]
  lines = ([x for x in part.splitlines() if not x.startswith('@@')] for part in parts[1::2])
  return dict(zip(parts[::2], lines))


def test_the_diffs_of_a_loss_and_of_a_signal_fit_the_code():
  """docs/extending.md: three files each; the loss is there, the signal could be."""
  text = (runs.REPO / 'docs' / 'extending.md').read_text()
  loss, signal = map(parts_of, re.findall(r'```diff\n(.*?)```', text, re.S))
  assert len(loss) == len(signal) == 3
  for diff, marks in ((loss, '+ '), (signal, ' ')):
    for name, lines in diff.items():
      assert not [line for line in lines if line.startswith('-')]
      if diff is signal and name.endswith('recall.py'):
        compile('\n'.join(x.removeprefix('+') for x in lines), name, 'exec')
        continue
      there = (runs.REPO / name).read_text().splitlines()
      stand = [line[1:] for line in lines if line[:1] in marks]
      assert stand and not set(stand) - set(there), name
      assert diff is loss or not {x[1:] for x in lines if x.startswith('+')} & set(there)


def test_the_readme_example_runs():
  """The example for people with their own loop: at most 20 lines, and it trains."""
  text = (runs.REPO / 'README.md').read_text()
  (code,) = re.findall(r'```python\n(# FASS in your own loop.*?)```', text, re.S)
  assert code.strip().count('\n') < 20
  env = {k: v for k, v in os.environ.items() if k != 'JAX_NUMPY_RANK_PROMOTION'}
  program = f'{code}\nprint(float(loss), s.matrix.sum())'
  result = subprocess.run(
    [sys.executable, '-c', program], cwd=runs.REPO, env=env, capture_output=True, text=True
  )
  assert result.returncode == 0, result.stderr
  loss, total = map(float, result.stdout.split())
  # three views, each from log 3 = 1.1 downwards, weights 1 + .8 + .8
  assert loss < 0.8 * 2.6 * 1.0986 and abs(total - 3) < 1e-4


def test_every_process_compiles_the_same_program(tmp_path):
  """The step's text must not depend on the order of a set, or no compile cache would hit."""
  program = """
import hashlib, jax, functools
from fass_jax import nets
from fass_jax.engine import step
from fass_jax.run.session import open_session
from tests import runs
import pathlib, sys
nets.build = lambda *args, **how: runs.linear_net(args[-1])
s = open_session(runs.config_of(), pathlib.Path(sys.argv[1]), lambda: '')
state = step.init_state(s.recipe, jax.random.key(0), (8, 8, 3))
plan = s.plan(state.key, state.step, s.store)
active = step.active_views(s.recipe, 1, {})
text = jax.jit(functools.partial(step.train_step, s.recipe, active)).lower(state, s.store, plan)
print(hashlib.sha256(text.as_text().encode()).hexdigest())
s.manager.close()
"""
  found = [
    subprocess.check_output(
      [sys.executable, '-c', program, str(tmp_path / seed)], cwd=runs.REPO, text=True,
      env=os.environ | {'PYTHONHASHSEED': seed},
    )
    for seed in ('0', '1', '2')
  ]  # fmt: skip
  assert len(set(found)) == 1 and len(found[0]) == 65


def test_no_machine_paths_or_hosts():
  for path in subprocess.check_output(['git', 'ls-files'], cwd=runs.REPO, text=True).split():
    file = pathlib.Path(runs.REPO / path)
    if file.suffix in ('.py', '.md', '.toml', '.json', '.jsonl') and file.exists():
      for word in ('/ro' + 'ot/', '/wo' + 'rk/', 'pythonho' + 'sted', 'py' + 'pi.org'):
        assert word not in file.read_text(), (path, word)
