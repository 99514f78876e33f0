"""Tables: what is read of a CSV file, how it becomes numbers and classes, and what is refused."""

import collections
import gzip
import os
import pathlib

import numpy as np
import pytest

from fass_jax.config import base_config
from fass_jax.data.load import load
from fass_jax.data.sets import table as tables
from fass_jax.data.sets.table_classes import classes_of
from fass_jax.types import Column, UserError
from tests import runs

# 12 rows: 6 red, 4 blue, 2 green; size and weight are numbers, kind has three words
ROWS = [
  (f'{10 + i}', 'abc'[i % 3], f'{-i}e-1', 'red' if i < 6 else 'blue' if i < 10 else 'green')
  for i in range(12)
]
HEAD = ('size', 'kind', 'weight', 'colour')


def write(folder, rows=ROWS, head=HEAD, sep=',', name='t.csv'):
  lines = [sep.join(row) for row in ([head] if head else []) + list(rows)]
  path = folder / name
  text = '\n'.join(lines) + '\n'
  if name.endswith('.gz'):
    path.write_bytes(gzip.compress(text.encode()))
  else:
    path.write_text(text)
  return path


def changed(row, column, value):
  """Returns the rows with another cell."""
  rows = [list(r) for r in ROWS]
  rows[row][column] = value
  return rows


def config_of(path, **sets):
  config = base_config('table')
  config.data.update(file=str(path), statistics='own', augment=(), **sets)
  config.net.backbone = 'mlp'
  return config


@pytest.mark.parametrize(
  'sep, name', [(',', 't.csv'), (';', 't.csv'), ('\t', 't.tsv'), (',', 't.csv.gz')]
)
def test_a_table_is_read_by_any_separator(tmp_path, sep, name):
  table = tables.read_table(write(tmp_path, sep=sep, name=name))
  assert table.names == HEAD and table.cells == tuple(map(tuple, ROWS)) and table.name == name
  assert table.lines == tuple(range(2, 14)) and table.column('kind')[:4] == ['a', 'b', 'c', 'a']


def test_quotes_spaces_empty_lines_and_a_byte_order_mark(tmp_path):
  path = tmp_path / 'q.csv'
  path.write_bytes('﻿name , x\n"a, b\nc", 1 \n\n  \nd,2\n'.encode())
  table = tables.read_table(path)
  assert table == ('q.csv', ('name', 'x'), (('a, b\nc', '1'), ('d', '2')), (3, 6))


def test_a_first_line_with_a_number_is_no_header(tmp_path):
  table = tables.read_table(write(tmp_path, head=None))
  assert table.names == ('column 1', 'column 2', 'column 3', 'column 4') and len(table.cells) == 12
  # a name that is missing is made up, as for the index that other programs write
  assert tables.read_table(write(tmp_path, head=('', *HEAD[1:]))).names[:2] == ('column 1', 'kind')


@pytest.mark.parametrize(
  'cell, value',
  [('1', 1.0), ('-2.5e3', -2500.0), ('.5', 0.5), ('a', None), ('', None), ('nan', None),
   ('inf', None), ('1_000', None), ('1,5', None)],
)  # fmt: skip
def test_numbers(cell, value):
  assert tables.number(cell) == value


def test_rows_as_numbers_by_hand(tmp_path):
  table = tables.read_table(write(tmp_path))
  columns = tables.columns_of(table, HEAD[:3], table.at([0, 1, 3]))  # no 'c' in training
  assert columns == (Column('size'), Column('kind', ('a', 'b')), Column('weight'))
  got = tables.encode(table.at([0, 1, 2]), columns)
  want = [[10, 1, 0, 0], [11, 0, 1, -0.1], [12, 0, 0, -0.2]]  # 'c' is neither
  assert got.dtype == np.float32
  np.testing.assert_array_equal(got, np.float32(want))
  assert tables.encode(table.at([]), columns).shape == (0, 4)


def test_a_word_of_no_training_row_is_said(tmp_path, caplog):
  runs.listen(caplog)
  table = tables.read_table(write(tmp_path))
  tables.encode(table, (Column('kind', ('a', 'b')),))
  assert (
    "the column 'kind' has words that no training row has, which count as none: c" in caplog.text
  )


def test_a_data_set_of_a_table(tmp_path):
  data = load(config_of(write(tmp_path), val_share=0.5))
  assert data.class_names == ('red', 'blue', 'green') and data.name == 't.csv' and data.is_rows
  assert np.bincount(data.train_labels).tolist() == [3, 2, 1]
  assert np.bincount(data.test_labels).tolist() == [3, 2, 1]
  assert [c.name for c in data.columns] == ['size', 'kind', 'weight']
  colours = [ROWS[i][3] for i in data.train_index]
  assert colours == [data.class_names[y] for y in data.train_labels]
  np.testing.assert_array_equal(data.train_images[:, 0], 10 + data.train_index)
  # the other rows are tested, and another seed has others
  seen = np.sort(np.concatenate([data.train_images[:, 0], data.test_images[:, 0]]))
  np.testing.assert_array_equal(seen, np.arange(10, 22))
  other = load(config_of(write(tmp_path), val_share=0.5, subset_seed=1))
  assert other.train_index.tolist() != data.train_index.tolist()
  again = load(config_of(write(tmp_path), val_share=0.5))
  np.testing.assert_array_equal(again.train_images, data.train_images)


def test_another_class_column_and_columns_left_out(tmp_path):
  path = write(tmp_path)
  data = load(config_of(path, target='kind', leave_out=('weight',)))
  assert data.class_names == ('a', 'b', 'c')
  assert [c.name for c in data.columns] == ['size', 'colour']
  words = f'--config.data.file={path}', '--config.data.leave_out=weight'  # one name as a word
  assert load(runs.config_of('--config=table.py:ce', *words)).image_shape == (4,)


def test_classes_of_equal_size_are_in_the_order_of_their_names():
  table = tables.Table('t', ('y',), tuple((c,) for c in 'bbaacd' + 'c'), tuple(range(7)))
  labels, names = classes_of(table, 'y')
  assert names == ('a', 'b', 'c', 'd') and labels.tolist() == [1, 1, 0, 0, 2, 3, 2]


@pytest.mark.parametrize(
  'how, words',
  [
    ({'rows': changed(4, 0, '?')}, ["t.csv: line 6 has no value in the column 'size' (1 missing"]),
    ({'rows': changed(2, 3, '')}, ["line 4 has no value in the column 'colour'"]),
    ({'rows': changed(7, 2, 'heavy')}, ["line 9 has 'heavy' in the column 'weight'", 'leave_out']),
    ({'rows': [*ROWS, ('1', 'a')]}, ['line 14 has 2 cells, but the first line has 4']),
    ({'head': ('size', 'kind', 'size', 'colour')}, ["two columns with the name 'size'"]),
    ({'rows': [(*r[:3], 'red') for r in ROWS]}, ["'colour' has only one class, 'red'"]),
    ({'rows': []}, ['has no rows']),
    ({'rows': [], 'head': None}, ['has no rows']),
    ({'rows': [(f'n{i}', 'x' if i % 2 else 'y') for i in range(60)], 'head': ('who', 'y')},
     ["the column 'who' has 48 different words in 48 training rows", 'leave_out="(\'who\',)"']),
    ({'rows': [('x', f'{i / 7}') for i in range(60)], 'head': ('x', 'y')},
     ["'y' has 60 different values in 60 rows, which are no classes"]),
    ({'rows': [('1', f'{i}') for i in range(4)], 'head': ('x', 'y')},
     ["no class of the column 'y' has two rows"]),
  ],
)  # fmt: skip
def test_what_cannot_be_learned_from_is_refused(tmp_path, how, words):
  with pytest.raises(UserError) as e:
    load(config_of(write(tmp_path, **how)))
  for word in words:
    assert word in str(e.value)


@pytest.mark.parametrize(
  'sets, words',
  [
    ({'target': 'color'}, ["no column 'color', which --config.data.target", "mean 'colour'"]),
    ({'leave_out': ('knd',)}, ["no column 'knd', which --config.data.leave_out", "mean 'kind'"]),
    ({'leave_out': ('colour',)}, ["the label is in the column 'colour'"]),
    ({'leave_out': HEAD[:3]}, ['leaves 0 others to learn from']),
  ],
)
def test_wrong_columns_are_refused(tmp_path, sets, words):
  with pytest.raises(UserError) as e:
    load(config_of(write(tmp_path), **sets))
  for word in words:
    assert word in str(e.value)


def test_a_file_that_is_no_table_is_refused(tmp_path):
  with pytest.raises(UserError, match=r'none.csv cannot be read .*give another file'):
    tables.read_table(tmp_path / 'none.csv')
  (tmp_path / 'x.csv.gz').write_text('not packed')
  (tmp_path / 'y.csv').write_bytes(b'\xff\xfe\x00')
  for name in ('x.csv.gz', 'y.csv'):
    with pytest.raises(UserError, match=f'{name} cannot be read'):
      tables.read_table(tmp_path / name)


def test_the_built_in_table():
  """A fifth of 357 benign and 212 malignant rows is for testing, the rest is cut to 10 : 1."""
  config = base_config('table')
  config.imb_factor = 10.0
  data = load(config)
  assert data.class_names == ('benign', 'malignant') and data.image_shape == (30,)
  assert collections.Counter(data.test_labels.tolist()) == {0: 72, 1: 43}  # ceil of a fifth
  assert collections.Counter(data.train_labels.tolist()) == {0: 285, 1: 28}
  assert data.columns[0] == Column('mean radius') and len(data.columns) == 30
  from sklearn.datasets import load_breast_cancer

  x = load_breast_cancer().data
  np.testing.assert_array_equal(data.train_images, np.float32(x[data.train_index]))


def test_a_column_of_values_can_be_read_for_a_task_without_classes():
  """The reader knows nothing of classes: abalone has no header, a word and the rings at the end."""
  path = pathlib.Path(os.environ.get('FASS_TEST_DATA', '')) / 'regression' / 'abalone.csv'
  if not path.exists():
    pytest.skip('FASS_TEST_DATA names no folder with regression/abalone.csv')
  table = tables.read_table(path)
  tables.check_whole(table, table.names)
  columns = tables.columns_of(table, table.names[:-1], table)
  x, rings = tables.encode(table, columns), np.array(table.column(table.names[-1]), float)
  assert x.shape == (4177, 10) and columns[0].words == ('F', 'I', 'M')
  np.testing.assert_array_equal(x[:, :3].sum(1), 1)
  assert (rings.min(), rings.max(), rings[0]) == (1, 29, 15)
