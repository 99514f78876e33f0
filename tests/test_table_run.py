"""A table through the whole program: recipe, training, every method, prediction, evaluation."""

import csv
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from fass_jax import evaluate, main, predict
from fass_jax.config import stages
from fass_jax.config.deltas import methods
from fass_jax.data.load import load
from fass_jax.recipe.build import build
from fass_jax.types import UserError
from fass_jax.workdir.open import open_run
from tests import bench, runs

METHODS = sorted(methods().keys() - runs.NEEDS_RUN - runs.OF_NUMBERS)
COLOURS = ('red', 'blue', 'green')
COUNTS = (60, 20, 10)


def write_table(path):
  """Writes a table of three classes: two numbers that say the class, a word that hints at it."""
  rng = np.random.default_rng(0)
  with open(path, 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['width', 'kind', 'colour', 'height'])
    for c, n in enumerate(COUNTS):
      for _ in range(n):
        kind = 'abc'[c if rng.random() < 0.7 else rng.integers(3)]
        width, height = rng.normal(3 * c, 1), rng.normal(1000 - 30 * c, 10)
        writer.writerow([f'{width:.3f}', kind, COLOURS[c], f'{height:.2f}'])
  return path


def args_of(folder, *more):
  """Returns the command line for the table of a folder."""
  file = folder / 'colours.csv'
  return ['--config=table.py:balanced_softmax', f'--config.data.file={file}', '--config.epochs=12',
          '--config.data.target=colour', '--config.batch_size=16', '--config.net.hidden=(16,)',
          '--config.checkpoint.every_s=0', *more]  # fmt: skip


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A folder with a table and a run on it, with held-out rows."""
  folder = tmp_path_factory.mktemp('table')
  write_table(folder / 'colours.csv')
  with pytest.MonkeyPatch.context() as patch:
    runs.draw_nothing(patch)
    runs.compile_quickly(patch, 0)
    words = args_of(folder, '--config.data.held_out=0.2', f'--workdir={folder / "run"}')
    assert main.main(words) == 0
  return folder


def call(capsys, command, *words):
  code = command.main([*map(str, words)])
  out, err = capsys.readouterr()
  assert 'Traceback' not in err
  return code, out, err


def test_the_recipe_speaks_of_rows(finished, capsys):
  code, out, _ = call(capsys, main, *args_of(finished), '--recipe')
  assert code == 0 and 'image' not in out
  assert 'table: 72 rows of 3 classes (48 to 8), 5 numbers a row, of colours.csv' in out


def test_a_run_learns_and_keeps_what_prediction_needs(finished):
  summary = json.loads((finished / 'run' / 'summary.json').read_text())
  assert summary['last']['top1'] > 0.8  # 2/3 is red
  run = open_run(str(finished / 'run'))
  assert run.reads_rows and run.classes == COLOURS
  assert run.preparation['columns'] == [['width', []], ['kind', ['a', 'b', 'c']], ['height', []]]
  assert run.preparation['mean'][1:4] == [0, 0, 0] and run.preparation['std'][1:4] == [1, 1, 1]
  assert run.preparation['unit'] == 1 and 900 < run.preparation['mean'][4] < 1000


def test_a_second_command_with_another_table_is_refused(finished, tmp_path, capsys):
  shutil.copytree(finished / 'run', tmp_path / 'run')
  text = (finished / 'colours.csv').read_text()
  (tmp_path / 'colours.csv').write_text(text.replace(',a,', ',z,'))
  words = args_of(tmp_path, '--config.data.held_out=0.2', f'--workdir={tmp_path / "run"}')
  code, _, err = call(capsys, main, *words)
  assert code == 1 and 'training set has changed' in err and 'with other columns or words' in err
  place = f'--config.data.file={tmp_path / "colours.csv"}'
  code, _, err = call(capsys, evaluate, f'--workdir={tmp_path / "run"}', place)
  assert code == 1 and 'with other columns or words; bring the old one back' in err


@pytest.mark.parametrize('name', ['trained', 'ncm', 'post_hoc', 'tau_norm'])
def test_a_run_is_evaluated(finished, capsys, name):
  code, out, err = call(capsys, evaluate, f'--workdir={finished / "run"}', f'--classifier={name}')
  assert code == 0, err
  found = json.loads((finished / 'run' / f'evaluation-{name}.json').read_text())
  last = json.loads((finished / 'run' / 'summary.json').read_text())['last']
  assert found['as_trained']['top1'] == last['top1'] and 'as trained' in out


def test_prediction_answers_as_evaluation_does(finished, capsys, tmp_path):
  """The test rows in another file, with the columns in another order and without the class."""
  data = load(runs.config_of(*args_of(finished, '--config.data.held_out=0.2')))
  x, columns = data.test_images, ('height', 'extra', 'kind', 'width')
  with open(tmp_path / 'new.csv', 'w', newline='') as file:
    writer = csv.writer(file, delimiter=';')
    writer.writerow(columns)
    for row in x.tolist():
      kind = 'abc'[int(np.argmax(row[1:4]))]
      writer.writerow([repr(row[4]), 'word', kind, repr(row[0])])
  words = [f'--workdir={finished / "run"}', '--top=1', '--csv=-', '--batch=4', tmp_path / 'new.csv']
  code, out, err = call(capsys, predict, *words)
  assert code == 0, err
  rows = list(csv.DictReader(out.splitlines()))
  assert [r['file'] for r in rows] == [f'{tmp_path / "new.csv"}:{i + 2}' for i in range(len(x))]
  right = [r['class'] == COLOURS[y] for r, y in zip(rows, data.test_labels)]
  last = json.loads((finished / 'run' / 'summary.json').read_text())['last']
  assert np.mean(right) == pytest.approx(last['top1'])


def test_a_bad_row_is_named_and_the_others_are_there(finished, capsys, tmp_path, caplog):
  runs.listen(caplog)
  path = tmp_path / 'new.csv'
  path.write_text('width,kind,height\n0.1,a,1000\n,a,1000\n6,purple,940\nx,c,940\n')
  code, out, _ = call(capsys, predict, f'--workdir={finished / "run"}', '--top=1', path)
  assert code == 1 and [line.split()[2] for line in out.splitlines()] == ['red', 'green']
  for text in (f"{path}:3 cannot be read: no value in the column 'width'", '2 of 4 rows could not',
               f"{path}:5 cannot be read: 'x' in the column 'width' is not a number",
               "the column 'kind' has words that no training row has"):  # fmt: skip
    assert text in caplog.text


@pytest.mark.parametrize(
  'name, text, words',
  [
    ('a.csv', 'width,kind\n1,a\n', ["has no column 'height'", '1 missing here']),
    ('a.csv', '', ['has no rows']),
    ('', '', ['this run classifies the rows of CSV files']),
  ],
)
def test_a_file_without_the_columns_is_refused(finished, capsys, tmp_path, name, text, words):
  path = tmp_path / (name or 'nowhere.csv')
  if name:
    path.write_text(text)
  code, _, err = call(capsys, predict, f'--workdir={finished / "run"}', path)
  assert code == 1
  for word in words:
    assert word in err


@pytest.fixture(scope='module')
def built_in():
  return load(runs.config_of('--config=table.py:ce'))


def shapes(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize('method', METHODS)
def test_a_method_is_traced_on_rows_or_refused_with_its_reason(method, built_in):
  config = runs.config_of(f'--config=table.py:{method}')
  try:
    for part in stages.split(config, pathlib.Path('w')):
      before, after = bench.Bench(config=part.config, data=built_in, net='real').traced()
      assert shapes(after) == shapes(before)
  except UserError as error:
    why = 'needs images, but the examples of breast_cancer are rows of 30 numbers'
    assert why in str(error) or 'needs auxiliary classes' in str(error)


def test_the_methods_for_rows_are_not_refused(built_in):
  for method in ('fass_mixup', 'ldam+drw', 'ride+mixup', 'manifold_mixup', 'crt', 'car'):
    for part in stages.split(runs.config_of(f'--config=table.py:{method}'), pathlib.Path('w')):
      assert build(part.config, built_in).views
