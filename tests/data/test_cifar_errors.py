"""CIFAR-LT: damaged originals, the download and what a user is told."""

import functools
import hashlib
import http.server
import os
import pickle
import threading

import numpy as np
import pytest

from fass_jax.data.sets import cifar, cifar_files, cifar_set
from fass_jax.types import UserError
from tests.data.cifar_made import (
  archive_of,
  binary100,
  folder_of,
  load,
  made,
  python10,
  replay,
  set_dir,
)

# ---- damaged originals -------------------------------------------------------------------------


def _assert_refused(tmp_path, files, folder, name, match, base=100):
  folder_of(tmp_path / 'data' / folder, files)
  with pytest.raises(UserError, match=match) as e:
    load(tmp_path, base)
  text = str(e.value)
  assert name in text and 'again' in text and '\n' not in text
  assert not cifar_set.is_prepared(set_dir(tmp_path, base))


@pytest.mark.parametrize('cut', [100, 3074])  # inside an image, between two images
def test_truncated_binary_file(tmp_path, cut):
  files = binary100()
  files['train.bin'] = files['train.bin'][:-cut]
  match = 'is truncated' if cut == 100 else 'images are missing'
  _assert_refused(tmp_path, files, 'cifar-100-binary', 'train.bin', match)


def test_label_out_of_range(tmp_path):
  files = binary100()
  raw = bytearray(files['test.bin'])
  raw[3074 + 1] = 100
  files['test.bin'] = bytes(raw)
  _assert_refused(tmp_path, files, 'cifar-100-binary', 'test.bin', 'label 100, outside 0 .. 99')


def test_missing_file(tmp_path):
  files = binary100()
  del files['test.bin']
  _assert_refused(tmp_path, files, 'cifar-100-binary', 'test.bin', 'cannot be read')


def test_too_few_names(tmp_path):
  files = binary100() | {'fine_label_names.txt': b'apple\n'}
  _assert_refused(tmp_path, files, 'cifar-100-binary', 'fine_label_names.txt', '100 class names')


@pytest.mark.parametrize(
  ('raw', 'match'),
  [
    (python10()['data_batch_3'][:-500], 'not a readable CIFAR pickle'),
    (b'garbage', 'not a readable CIFAR pickle'),
    (pickle.dumps([1, 2]), 'not a readable CIFAR pickle'),
    (pickle.dumps({b'data': np.zeros((4, 9), np.uint8), b'labels': [0] * 4}), '3072 columns'),
    (pickle.dumps({b'data': np.zeros((4, 3072), np.uint8), b'labels': [0] * 3}), 'but 3 labels'),
    (pickle.dumps({b'data': np.zeros((1, 3072), np.uint8), b'labels': ['x']}), 'whole numbers'),
  ],
)  # fmt: skip
def test_bad_pickle(tmp_path, raw, match):
  files = python10() | {'data_batch_3': raw}
  _assert_refused(tmp_path, files, 'cifar-10-batches-py', 'data_batch_3', match, base=10)


def test_pickle_runs_nothing(tmp_path):
  class Evil:
    def __reduce__(self):
      return os.mkdir, (str(tmp_path / 'owned'),)

  with pytest.raises(UserError, match='mkdir is not allowed'):
    cifar_files.load_pickle('train', pickle.dumps({b'data': Evil()}))
  assert not (tmp_path / 'owned').exists()


def test_truncated_archive(tmp_path):
  (tmp_path / 'data').mkdir()
  raw = archive_of('cifar-100-binary', binary100())
  path = tmp_path / 'data' / 'cifar-100-binary.tar.gz'
  for bad in (raw[: len(raw) // 2], raw[:-4], b'<html>not found</html>'):
    path.write_bytes(bad)
    with pytest.raises(UserError, match=r'cifar-100-binary\.tar\.gz is not a complete'):
      load(tmp_path)
  path.write_bytes(archive_of('cifar-100-binary', {'readme': b'x'}))
  with pytest.raises(UserError, match='does not contain the files of CIFAR-100'):
    load(tmp_path)


# ---- download ----------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
  """An HTTP server on localhost: its address, the check sum of its archive, what was asked for."""
  raw = archive_of('cifar-100-binary', binary100())
  folder_of(tmp_path / 'www', {'cifar-100-binary.tar.gz': raw})
  asked = []

  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
      asked.append(self.path)

  handler = functools.partial(Handler, directory=str(tmp_path / 'www'))
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as s:
    thread = threading.Thread(target=s.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{s.server_port}', hashlib.sha256(raw).hexdigest(), asked
    s.shutdown()
    thread.join()


def test_download(tmp_path, server):
  host, sha256, asked = server
  kw = {'dir': '', 'download': True, 'url': f'{host}/cifar-100-binary.tar.gz', 'sha256': sha256}
  d = load(tmp_path, **kw)
  assert d.train_index.tolist() == replay(made()[0][1], 100, 20, 10)
  assert len(asked) == 1
  load(tmp_path, factor=4, **kw)  # another set of the same archive
  assert len(asked) == 1


def test_download_with_the_wrong_sum(tmp_path, server):
  host, sha256, _ = server
  kw = {'dir': '', 'download': True, 'url': f'{host}/cifar-100-binary.tar.gz'}
  for wrong in ('', 'f' * 64):  # '' asks for the registered sum of the real archive
    with pytest.raises(UserError, match=f'has sha256 {sha256} instead of'):
      load(tmp_path, sha256=wrong, **kw)
  assert not [p for p in (tmp_path / 'cache').rglob('*') if p.is_file()]
  assert len(load(tmp_path, sha256=sha256, **kw).test_labels) == 300


def test_failed_download_says_so(tmp_path, server):
  with pytest.raises(UserError, match='404') as e:
    load(tmp_path, dir='', download=True, url=f'{server[0]}/none.tar.gz')
  text = str(e.value)
  assert 'tar.gz failed (' in text and '--config.data.dir=DIR' in text
  with pytest.raises(UserError, match=r'tar.gz failed \('):
    load(tmp_path, dir='', download=True, url='http://127.0.0.1:9/x.tar.gz')


def test_no_data_names_the_places(tmp_path):
  with pytest.raises(UserError) as e:
    load(tmp_path)
  text = str(e.value)
  for part in (
    str(tmp_path / 'data'),
    str(tmp_path / 'cache'),
    'does not exist',
    'switched off',
    'cifar-100-python.tar.gz',
    'cifar-100-binary.tar.gz',
    '--config.data.dir=DIR',
  ):
    assert part in text
  assert '\n' not in text


@pytest.mark.parametrize(
  ('base', 'kw', 'match'),
  [
    (20, {}, '10 or 100'),
    (100, {'imb_factor': 0.1}, '1 or more'),
    (100, {'profile': 'x'}, 'exp, step'),
    (100, {'subset_seed': -1}, 'subset seed'),
  ],
)  # fmt: skip
def test_bad_arguments(tmp_path, base, kw, match):
  with pytest.raises(UserError, match=match):
    cifar.load_cifar(base, **{'imb_factor': 10, 'cache': str(tmp_path), **kw})
