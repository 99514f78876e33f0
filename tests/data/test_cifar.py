"""CIFAR-LT: the whole way on made-up and real files, and the prepared set in the cache."""

import functools
import os
import shutil
import sys

import numpy as np
import pytest

from fass_jax.counts import class_counts
from fass_jax.data.sets import cifar, cifar_files, cifar_lt
from fass_jax.data.sets.subset import long_tail_indices
from fass_jax.types import UserError
from tests.data.cifar_made import (
  NAMES,
  archive_of,
  binary100,
  child,
  folder_of,
  images_of,
  load,
  made,
  prepared_cifar100,
  python10,
  replay,
  same,
  set_dir,
)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A folder with the unpacked made-up CIFAR-100, and in it the set prepared from it."""
  path = tmp_path_factory.mktemp('prepared')
  folder_of(path / 'data' / 'cifar-100-binary', binary100())
  return path, load(path)


@pytest.fixture
def ready(tmp_path, prepared):
  """A copy of that, to be spoilt."""
  shutil.copytree(prepared[0], tmp_path, dirs_exist_ok=True)
  return tmp_path, prepared[1]


# ---- the whole way on made-up data -------------------------------------------------------------


def test_binary_folder(ready):
  (x, y), (tx, ty) = made()
  d = ready[1]
  index = replay(y, 100, 20, 10)
  assert d.name == 'cifar100_lt' and d.class_names == NAMES
  assert d.train_index.tolist() == index
  assert (d.train_images == images_of(x)[index]).all() and (d.train_labels == y[index]).all()
  assert (d.test_images == images_of(tx)).all() and (d.test_labels == ty).all()
  assert [a.dtype for a in d[1:6]] == [np.uint8, np.int32, np.int32, np.uint8, np.int32]


def test_python_archive_of_cifar10(tmp_path):
  (tmp_path / 'data').mkdir()
  archive = archive_of('cifar-10-batches-py', python10())
  (tmp_path / 'data' / 'cifar-10-python.tar.gz').write_bytes(archive)
  d = load(tmp_path, base=10, factor=5)
  (x, y), (tx, _) = made(10)
  index = replay(y, 10, 20, 5)
  assert d.train_index.tolist() == index
  assert (d.train_images == images_of(x)[index]).all() and (d.test_images == images_of(tx)).all()
  assert d.class_names == NAMES[:10]
  assert [p.name for p in (tmp_path / 'data').iterdir()] == ['cifar-10-python.tar.gz']


def test_other_factor_is_another_set(ready):
  tmp_path, first = ready
  # `dir` may be the unpacked folder itself.
  other = load(tmp_path, factor=2.5, dir=str(tmp_path / 'data' / 'cifar-100-binary'))
  assert set(first.train_index) < set(other.train_index)
  names = {p.name for p in (tmp_path / 'cache' / 'cifar_lt').iterdir()}
  assert names >= {'c100_if10_exp_s0', 'c100_if2.5_exp_s0'}


def test_no_screen_output(tmp_path, capfd):
  folder_of(tmp_path / 'data' / 'cifar-100-binary', binary100())
  load(tmp_path)
  out = capfd.readouterr()
  assert (out.out, out.err) == ('', '')


def test_cache_from_the_environment(ready, monkeypatch):
  tmp_path, first = ready
  monkeypatch.setenv('FASS_JAX_CACHE', str(tmp_path / 'cache'))
  assert same(first, cifar.load_cifar(100, imb_factor=10.0, download=False))


# ---- the prepared set --------------------------------------------------------------------------


@pytest.mark.process
def test_prepared_set_needs_neither_originals_nor_tfds(ready):
  """Nor does the import of the module load any of them."""
  tmp_path, first = ready
  code = (
    'import sys\n'
    'from fass_jax.data.sets import cifar\n'
    'heavy = "tensorflow_datasets", "PIL", "sklearn"\n'
    'print([m for m in heavy if m in sys.modules])\n'
    'sys.modules |= dict.fromkeys(heavy)\n'
    'd = cifar.load_cifar(100, imb_factor=10, cache=sys.argv[1], download=False)\n'
    'print(d.train_index.sum(), d.train_images.sum())'
  )
  out = child(code, tmp_path / 'cache')
  sums = f'{first.train_index.sum()} {first.train_images.sum()}'
  assert out.stdout.splitlines() == ['[]', sums], out


@pytest.mark.parametrize('harm', ['gone', 'cut', 'noise', 'bit', 'empty'])
def test_resident_is_made_again_from_the_records(ready, harm):
  tmp_path, first = ready
  path = set_dir(tmp_path) / 'resident.npz'
  raw = bytearray(path.read_bytes())
  raw[len(raw) // 2] ^= 1
  new = {'cut': raw[:-99], 'noise': b'\x07' * 999, 'bit': raw, 'empty': b''}
  path.unlink()
  if harm != 'gone':
    path.write_bytes(new[harm])
  assert same(first, load(tmp_path, dir=''))
  with np.load(path) as z:
    assert z['images'].shape == first.train_images.shape
  assert not list(path.parent.glob('.resident*'))


def test_damaged_records(ready):
  tmp_path, _ = ready
  folder = set_dir(tmp_path)
  (folder / 'resident.npz').unlink()
  for path in folder.glob('*array_record*'):
    path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(UserError, match=r'is damaged.*delete that folder'):
    load(tmp_path)


def test_preparing_without_tfds_says_what_to_install(tmp_path, monkeypatch):
  folder_of(tmp_path / 'data' / 'cifar-100-binary', binary100())
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  monkeypatch.delitem(sys.modules, 'fass_jax.data.sets.cifar_lt', raising=False)
  monkeypatch.delattr('fass_jax.data.sets.cifar_lt', raising=False)
  with pytest.raises(UserError, match='pip install tensorflow-datasets'):
    load(tmp_path)


def test_crash_while_preparing_leaves_no_prepared_set(tmp_path, monkeypatch):
  """What lies there in the middle of it is what a process that ends then leaves behind."""
  folder_of(tmp_path / 'data' / 'cifar-100-binary', binary100())
  whole, left = cifar_lt.CifarLt._generate_examples, tmp_path / 'left'

  def watched(self, *args):
    for key, row in whole(self, *args):
      if key == 150 and not left.exists():
        shutil.copytree(tmp_path / 'cache', left)
      yield key, row

  with monkeypatch.context() as patch:
    patch.setattr(cifar_lt.CifarLt, '_generate_examples', watched)
    load(tmp_path)
  shutil.rmtree(tmp_path / 'cache')
  left.rename(tmp_path / 'cache')
  assert list(set_dir(tmp_path).parent.iterdir())  # it did begin
  assert not set_dir(tmp_path).exists()
  assert len(load(tmp_path).train_labels) == class_counts(20, 100, 10).sum()


# ---- the real sets -----------------------------------------------------------------------------


@functools.cache
def _real(base):
  folder = os.environ.get('FASS_TEST_DATA')
  if not folder:
    pytest.skip('FASS_TEST_DATA names no folder with cifar-100-python/ and cifar-10-batches-py/')
  return folder, cifar_files.read_original(base, cifar_files.find_original(base, folder))


@pytest.mark.parametrize(
  ('base', 'totals'), [(10, (20431, 13996, 12406, 11203)), (100, (19573, 12608, 10847, 9502))]
)
def test_real_subsets(base, totals):
  _, full = _real(base)
  labels = full.train_labels
  for factor, total in zip((10, 50, 100, 200), totals, strict=True):
    index = long_tail_indices(labels, class_counts(50000 // base, base, factor))
    assert len(index) == total
    assert index.tolist() == replay(labels.tolist(), base, 50000 / base, factor)
  first = np.flatnonzero(labels == 0)
  rank = {10: [398, 3833, 4836, 4572], 100: [90, 254, 283, 445]}[base]
  assert index[:4].tolist() == first[rank].tolist()


@pytest.mark.parametrize(('base', 'factor', 'total'), [(100, 100, 10847), (10, 200, 11203)])
def test_real_set_through_tfds(base, factor, total, tmp_path):
  folder, full = _real(base)
  before = sorted(os.listdir(folder))
  cache = tmp_path / 'cache' if base == 10 else prepared_cifar100(folder)
  d = load(tmp_path, base, factor, dir=folder, cache=cache)
  assert len(d.train_labels) == total and len(d.test_labels) == 10000
  assert d.train_index.tolist() == replay(full.train_labels.tolist(), base, 50000 / base, factor)
  assert (d.train_images == full.train_images[d.train_index]).all()
  assert (d.train_labels == full.train_labels[d.train_index]).all()
  assert (d.test_images == full.test_images).all()
  assert (d.test_labels == full.test_labels).all()
  assert d.class_names[0] == {10: 'airplane', 100: 'apple'}[base]
  assert same(d, load(tmp_path, base, factor, dir='', cache=cache))
  assert sorted(os.listdir(folder)) == before
