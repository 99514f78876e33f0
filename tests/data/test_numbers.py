"""Labels that are numbers: bins, splits, the sets that have them, and bad ones."""

import csv
import gzip

import numpy as np
import pytest

from fass_jax.config import base_config
from fass_jax.data.load import load
from fass_jax.data.numbers import Bins, bins_of, read, split
from fass_jax.types import UserError
from tests import runs
from tests.data import photos

D = base_config('x').data


def settings(**how):
  d = base_config('x').data
  d.update(how)
  return d


def test_bins_by_hand():
  values = np.array([0.3, 0.35, 0.59, 1.0])
  bins = bins_of(values, 'abcd', 'x', settings(bin_width=0.1))
  assert bins.size == 8 and bins.start == pytest.approx(0.3)
  assert bins.of(values).tolist() == [0, 0, 2, 7]
  assert Bins(25.0, 25.0, 2).names() == ('25 to 50', '50 to 75')
  assert Bins(1.0, 1.0, 3).names() == ('1', '2', '3')
  one = bins_of(np.array([5.0, 5.0]), 'ab', 'x', settings())
  assert one.size == 1 and one.of([5.0]).tolist() == [0]
  ages = bins_of(np.array([3.0, 120.5]), 'ab', 'x', settings(label_range=(0.0, 121.0)))
  # the highest edge belongs to the last bin
  assert ages.size == 121 and ages.of([0.0, 120.5, 121.0]).tolist() == [0, 120, 120]


def test_a_split_is_random_by_seed_and_whole():
  stay, taken = split(100, 0.2, 0)
  assert len(taken) == 20 and sorted([*stay, *taken]) == list(range(100))
  assert np.array_equal(split(100, 0.2, 0)[1], taken)
  assert not np.array_equal(split(100, 0.2, 1)[1], taken)
  assert [len(x) for x in split(1, 0.9, 0)] == [1, 0]


@pytest.mark.parametrize('cell', ['old', 'nan', 'inf', ''])
def test_labels_that_are_no_numbers(cell):
  with pytest.raises(UserError, match=r"^x has '.*' in line 3, which is no finite number.*\.$"):
    read(['1', cell], ['line 2', 'line 3'], 'x')


def test_labels_outside_the_bins_and_ranges_that_are_none():
  values = np.array([1.0, 130.0])
  with pytest.raises(UserError, match=r'x has 130 in line 3, outside the bins.*\(1 such labels\)'):
    bins_of(values, ['line 2', 'line 3'], 'x', settings(label_range=(0.0, 121.0)))
  with pytest.raises(UserError, match='is not a range'):
    bins_of(values, 'ab', 'x', settings(label_range=(5.0, 1.0)))
  with pytest.raises(UserError, match='makes 12901 bins'):
    bins_of(values, 'ab', 'x', settings(bin_width=0.01))


def test_diabetes_is_split_60_20_20():
  data = load(runs.config_of('--config=diabetes.py:l1'))
  sizes = [len(x) for x in (data.train_labels, data.held_labels, data.test_labels)]
  assert sizes == [266, 88, 88] and data.outputs == 1
  assert data.class_names[0] == '25 to 50' and len(data.class_names) == 13
  for values, bins in (
    (data.train_values, data.train_labels),
    (data.held_values, data.held_labels),
    (data.test_values, data.test_labels),
  ):
    np.testing.assert_array_equal((values // 25).astype(int) - 1, bins)  # fmt: skip
  other = load(runs.config_of('--config=diabetes.py:l1', '--config.data.subset_seed=1'))
  assert not np.array_equal(other.train_index, data.train_index)


def write_abalone(folder, rows, name='abalone.csv.gz'):
  folder.mkdir(exist_ok=True)
  text = '\n'.join(','.join(map(str, row)) for row in rows)
  path = folder / name
  with (gzip.open if name.endswith('gz') else open)(path, 'wt') as file:
    file.write(text)
  return folder


def shells(n=50):
  rng = np.random.default_rng(0)
  return [('MFI'[i % 3], *np.round(rng.random(7), 3), rng.integers(1, 29)) for i in range(n)]


@pytest.mark.parametrize('name', ['abalone.csv.gz', 'abalone.data'])
def test_abalone_has_no_header_and_a_word(tmp_path, name):
  folder = write_abalone(tmp_path / 'a', shells(), name)
  data = load(runs.config_of('--config=abalone.py:l1', f'--config.data.dir={folder}'))
  assert [c.name for c in data.columns][:2] == ['sex', 'length']
  assert data.columns[0].words == ('F', 'I', 'M') and data.train_images.shape == (30, 10)
  assert data.class_names[0] == str(int(min(data.train_values.min(), data.test_values.min(),
                                            data.held_values.min())))  # fmt: skip


def test_abalone_that_is_not_there_or_not_whole(tmp_path):
  for where in ('', tmp_path):
    with pytest.raises(UserError, match='has no abalone.csv; give the folder'):
      load(runs.config_of('--config=abalone.py:l1', f'--config.data.dir={where}'))
  folder = write_abalone(tmp_path / 'b', [row[1:] for row in shells()])
  with pytest.raises(UserError, match='has 8 columns, but abalone has 9'):
    load(runs.config_of('--config=abalone.py:l1', f'--config.data.dir={folder}'))


def test_a_table_of_numbers(tmp_path):
  path = tmp_path / 'own.csv'
  path.write_text('price,area,town\n' + ''.join(f'{i * 1.5},{i},t{i % 2}\n' for i in range(20)))
  words = ['--config=table_numbers.py:l1', f'--config.data.file={path}']
  data = load(runs.config_of(*words, '--config.data.target=price', '--config.data.bin_width=5'))
  assert len(data.test_labels) == 4 and data.class_names[:2] == ('0 to 5', '5 to 10')
  with pytest.raises(UserError, match=r"the column 'town' has 't0' in line 2, which is no"):
    load(runs.config_of(*words))
  with pytest.raises(UserError, match='needs --config.data.file=FILE'):
    load(runs.config_of('--config=table_numbers.py:l1'))


def write_agedb(folder, ages, header='age,path,split'):
  """Writes a folder of AgeDB's layout."""
  names = photos.write(folder, {f'AgeDB/{i}_{a}.jpg': photos.jpeg(i) for i, a in enumerate(ages)})
  with open(folder / 'agedb.csv', 'w', newline='') as file:
    writer = csv.writer(file)
    file.write(header + '\n')
    for i, age in enumerate(ages):
      writer.writerow([age, f'AgeDB/{i}_{age}.jpg', ('train', 'train', 'val', 'test')[i % 4]])
  return names


def agedb(folder, *more):
  return load(runs.config_of('--config=agedb.py:l1', f'--config.data.dir={folder}', *more))


def test_agedb_has_its_published_split(tmp_path):
  write_agedb(tmp_path, [31, 40, 20, 59, 3, 77, 31, 8])
  data = agedb(tmp_path, f'--config.data.cache={tmp_path / "cache"}')
  assert sorted(data.train_values.tolist()) == [3, 31, 40, 77]
  assert sorted(data.test_values.tolist()) == [8, 59] and len(data.class_names) == 121
  np.testing.assert_array_equal(data.train_labels, data.train_values.astype(int))
  val = agedb(tmp_path, '--config.data.split=val', f'--config.data.cache={tmp_path / "cache"}')
  assert sorted(val.test_values.tolist()) == [20, 31]


def test_bad_lists_of_agedb(tmp_path):
  with pytest.raises(UserError, match='has no agedb.csv'):
    agedb(tmp_path)
  write_agedb(tmp_path, [31, 40, 20, 130])
  with pytest.raises(UserError, match=r'has 130 in .*3_130.jpg, outside the bins'):
    agedb(tmp_path)
  write_agedb(tmp_path, [31, 40, 20, 'old'])
  with pytest.raises(UserError, match=r"has 'old' in .*which is no finite number"):
    agedb(tmp_path)
  write_agedb(tmp_path, [31, 40, 20, 59], header='years,path,split')
  with pytest.raises(UserError, match='not a header with the columns path and age'):
    agedb(tmp_path)


def test_a_list_of_images_with_numbers(tmp_path):
  photos.write(tmp_path, {f'{i}.jpg': photos.jpeg(i) for i in range(10)})
  (tmp_path / 'own.txt').write_text(''.join(f'{i}.jpg {i / 2}\n' for i in range(10)))
  words = ['--config=folder_numbers.py:l1', f'--config.data.root={tmp_path / "own.txt"}',
           f'--config.data.cache={tmp_path / "cache"}']  # fmt: skip
  data = load(runs.config_of(*words))
  assert len(data.train_values) == 8 and len(data.test_values) == 2 and data.side == 224
  assert data.class_names == ('0', '1', '2', '3', '4')
