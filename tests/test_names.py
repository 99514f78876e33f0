"""Generic code asks for no piece by its name; the strings behind the random numbers stay."""

import ast
import re

import pytest

from fass_jax.augment.chain import OPS
from fass_jax.augment.mixes import MIXES
from fass_jax.classifiers import CLASSIFIERS
from fass_jax.losses import LOSSES
from fass_jax.nets.base import HEADS
from fass_jax.recipe.tasks import TASKS
from fass_jax.sampling.named import PARTNERS, RATIOS, SAMPLERS
from fass_jax.signals import SIGNALS
from tests import runs

PACKAGE = runs.REPO / 'fass_jax'
GENERIC = ('recipe', 'engine', 'run', 'report', 'workdir', 'predict.py', 'evaluate.py')
TABLES = {
  'loss': LOSSES, 'signal': SIGNALS, 'op': OPS, 'sampler': SAMPLERS, 'partner': PARTNERS,
  'ratio': RATIOS, 'mix': MIXES, 'head': HEADS, 'classifier': CLASSIFIERS, 'task': TASKS,
}  # fmt: skip
# (file, name): why it may stand there
ALLOWED = {
  **{(f'{room}/tasks.py', task): 'its table' for room in ('recipe', 'report') for task in TASKS},
  ('report/regression.py', 'mse'): 'a figure, named like the loss',
  ('*', 'natural'): 'the stream and the view that every run has, named like the sampler',
}


def files():
  """Returns the files of the generic rooms."""
  found = [PACKAGE / name for name in GENERIC]
  return sorted(p for f in found for p in ([f] if f.is_file() else f.rglob('*.py')))


def literals(path):
  """Yields `(line, string)` of a file, docstrings left out."""
  tree = ast.parse(path.read_text())
  docs = {
    id(node.body[0].value)
    for node in ast.walk(tree)
    if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
    and node.body
    and isinstance(node.body[0], ast.Expr)
  }
  for node in ast.walk(tree):
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
      yield node.lineno, node.value


@pytest.mark.parametrize('path', files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_string_names_a_piece(path):
  names = {name: kind for kind, table in TABLES.items() for name in table}
  found = [
    f'line {line}: the {names[text]} {text!r}'
    for line, text in literals(path)
    if text in names
    and ('*', text) not in ALLOWED
    and (str(path.relative_to(PACKAGE)), text) not in ALLOWED
  ]
  assert not found, found


# what was folded into keys at the first release; another string is another run
SITES = {
  'init', 'plan/{}', 'sampler/{}', 'gate/{}', 'ratio/{}', 'chance/{}', 'mix/{}', 'augment/{}',
  'strength/{}', 'refresh', '{}/{}',
  # came later: with SMOTE, and with the choice of mixes
  'resample', 'keep/{}',
}  # fmt: skip
PATTERNS = {
  'engine/views.py': ('{}/{}/{}', 'partner', 'partner/{}', 'own'),
}


def text_of(node):
  """Returns a string or an f-string with {} for what is put in, None for anything else."""
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return node.value
  if isinstance(node, ast.JoinedStr):
    return ''.join(v.value if isinstance(v, ast.Constant) else '{}' for v in node.values)
  return None


def test_the_sites_of_random_numbers_are_those_of_the_first_release():
  found = set()
  for path in PACKAGE.rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'site':
        found.add(text_of(node.args[1]))
  assert found == SITES
  for name, strings in PATTERNS.items():
    tree = ast.parse((PACKAGE / name).read_text())
    there = {text_of(node) for node in ast.walk(tree)}
    assert set(strings) <= there, name


def test_every_other_checksum_is_of_a_name():
  """crc32 of streams (the host's coins), ops (the chain) and sites alone."""
  users = {
    str(path.relative_to(PACKAGE)): re.findall(r'crc32\((\w+)\.encode', path.read_text())
    for path in PACKAGE.rglob('*.py')
    if 'crc32(' in path.read_text()
  }
  assert {k: v for k, v in users.items() if v} == {
    'augment/chain.py': ['name'],
    'engine/views.py': ['name'],
    'run/seeds.py': ['name'],
    'engine/feed.py': ['site'],
  }
