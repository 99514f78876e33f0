"""Training on real CIFAR images; the folder comes from FASS_TEST_DATA."""

import json
import pathlib
import pickle

import numpy as np
import pytest

from fass_jax import main
from fass_jax.data.sets import cifar_files
from fass_jax.run import loop
from tests import runs
from tests.data.cifar_made import prepared_cifar100


@pytest.fixture(scope='module')
def sliced(cifar_dir, tmp_path_factory):
  """A folder of originals with 1,000 real training images, 100 a class, and 200 test images."""
  folder = tmp_path_factory.mktemp('slice') / 'cifar-10-batches-py'
  folder.mkdir()
  source = pathlib.Path(cifar_dir) / 'cifar-10-batches-py'

  def read(name):
    return cifar_files.load_pickle(name, (source / name).read_bytes())

  def write(name, x, y):
    (folder / name).write_bytes(pickle.dumps({b'data': x, b'labels': y.tolist()}))

  (folder / 'batches.meta').write_bytes((source / 'batches.meta').read_bytes())
  for number in range(1, 6):
    got = read(f'data_batch_{number}')
    y = np.asarray(got[b'labels'])
    keep = np.sort(np.concatenate([np.flatnonzero(y == c)[:20] for c in range(10)]))
    write(f'data_batch_{number}', np.asarray(got[b'data'])[keep], y[keep])
  got = read('test_batch')
  y = np.asarray(got[b'labels'])
  keep = np.sort(np.concatenate([np.flatnonzero(y == c)[:20] for c in range(10)]))
  write('test_batch', np.asarray(got[b'data'])[keep], y[keep])
  return folder.parent


def test_killed_on_cifar_is_bit_equal(sliced, tmp_path, monkeypatch, caplog):
  """Killed inside an epoch, with the mixed views; test_resume.py kills processes."""
  runs.listen(caplog)
  runs.use_linear_net(monkeypatch)
  args = ['--config=configs/cifar10_lt.py:fass', '--config.imb_factor=1', '--config.epochs=2',
          f'--config.data.dir={sliced}', '--config.checkpoint.every_s=0',
          f'--config.data.cache={tmp_path / "cache"}', '--config.checkpoint.every_steps=5',
          '--config.batch_size=64', '--config.optim.lr=0.02',
          '--config.data.image_size=16', '--config.streams.pair.start=on']  # fmt: skip
  path, config = tmp_path / 'killed', runs.config_of(*args)
  with monkeypatch.context() as patch, pytest.raises(runs.Killed):
    runs.die_at(patch, 23)  # of 2 x 16
    loop.run(config, path)
  assert runs.checkpoints(path) == [15, 20]
  loop.run(config, path)
  assert '1000 training images' in caplog.text and '200 test images' in caplog.text
  assert 'Resumed at step 20 ' in caplog.text
  loop.run(config, tmp_path / 'whole')
  runs.assert_same_run(path, tmp_path / 'whole')


def test_cifar100_lt_from_its_folder(cifar_dir, tmp_path, monkeypatch):
  """An epoch of CE at a quarter of the size of the images: 10,847 in, 10,000 reported on."""
  runs.use_linear_net(monkeypatch)
  before = sorted(p.name for p in pathlib.Path(cifar_dir).iterdir())
  cache = prepared_cifar100(cifar_dir)
  args = ['--config=configs/cifar100_lt.py:ce', f'--config.data.dir={cifar_dir}',
          f'--config.data.cache={cache}', '--config.epochs=1', '--config.data.image_size=8',
          f'--workdir={tmp_path / "run"}']  # fmt: skip
  assert main.main(args) == 0
  summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  assert 0.01 < summary['last']['top1'] <= 1
  assert None not in [summary['last'][k] for k in ('many', 'medium', 'few')]
  assert sorted(p.name for p in pathlib.Path(cifar_dir).iterdir()) == before
  (record,) = runs.records(tmp_path / 'run')
  assert record['step'] == 85  # ceil(10,847 / 128)
