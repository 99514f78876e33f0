"""Small made-up CIFAR files: 20 train and 3 test images a class; what the tests share."""

import functools
import gzip
import io
import pathlib
import pickle
import subprocess
import sys
import tarfile

import numpy as np

from fass_jax.data.sets import cifar, cifar_set
from tests import runs

ROOT = pathlib.Path(__file__).parents[2]
NAMES = tuple(f'name{i}' for i in range(100))


def pixels(n, seed):
  return np.random.RandomState(seed).randint(0, 256, (n, 3072)).astype(np.uint8)


@functools.cache
def made(classes=100):
  rng = np.random.RandomState(7)
  labels = [rng.permutation(np.repeat(np.arange(classes), k)) for k in (20, 3)]
  return [(pixels(len(y), s), y) for s, y in enumerate(labels)]


def binary100():
  files = {'fine_label_names.txt': '\n'.join(NAMES).encode()}
  for name, (x, y) in zip(('train', 'test'), made(), strict=True):
    files[f'{name}.bin'] = np.column_stack([y % 20, y, x]).astype(np.uint8).tobytes()
  return files


def python10():
  (x, y), (tx, ty) = made(10)
  files = {'batches.meta': pickle.dumps({'label_names': list(NAMES[:10])})}
  for i in range(5):
    part = slice(i * 40, (i + 1) * 40)
    files[f'data_batch_{i + 1}'] = pickle.dumps({b'data': x[part], b'labels': y[part].tolist()})
  files['test_batch'] = pickle.dumps({b'data': tx, b'labels': ty.tolist()})
  return files


def folder_of(path, files):
  path.mkdir(parents=True)
  for name, data in files.items():
    (path / name).write_bytes(data)
  return path


def archive_of(folder, files):
  raw = io.BytesIO()
  with tarfile.open(fileobj=raw, mode='w') as tar:
    for name, data in files.items():
      info = tarfile.TarInfo(f'{folder}/{name}')
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return gzip.compress(raw.getvalue(), compresslevel=1, mtime=0)


def images_of(rows):
  return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def load(tmp_path, base=100, factor=10, **kw):
  kw = {'dir': str(tmp_path / 'data'), 'download': False, 'cache': tmp_path / 'cache', **kw}
  return cifar.load_cifar(base, imb_factor=factor, **{**kw, 'cache': str(kw['cache'])})


def prepared_cifar100(folder):
  """Returns a cache with CIFAR-100-LT, factor 100, made of the originals once a session."""

  def make(cache):
    load(cache, 100, 100, dir=str(folder), cache=cache)

  return runs.once('cifar100_lt', make)


def set_dir(tmp_path, base=100, factor=10):
  return cifar_set.prepared_dir(cifar_set.Spec(base, factor), tmp_path / 'cache')


def same(a, b):
  return (
    a.name == b.name
    and a.class_names == b.class_names
    and all(
      np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a[1:6], b[1:6], strict=True)
    )
  )


def child(code, *args):
  return subprocess.run(
    [sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True, cwd=ROOT
  )


def replay(labels, classes, n_max, factor):
  """The rule once more, written out: seed 0, shuffle each class, keep the head of it."""
  rng, kept = np.random.RandomState(0), []
  for c in range(classes):
    places = np.array([i for i, y in enumerate(labels) if y == c])
    rng.shuffle(places)
    kept += places[: int(n_max * (1 / factor) ** (c / (classes - 1.0)))].tolist()
  return kept
