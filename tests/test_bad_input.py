"""Trouble in the middle of a run: nothing is lost and one sentence says how to go on."""

import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from fass_jax.data.load import check, load, resize
from fass_jax.run import loop
from fass_jax.types import UserError
from fass_jax.workdir import files
from tests import runs


@pytest.fixture
def linear(monkeypatch):
  runs.use_linear_net(monkeypatch)


def test_a_loss_that_is_not_a_number_stops_the_run(linear, tmp_path):
  args = ['--config=digits_lt.py:ce', *runs.SHORT, '--config.optim.lr=1e20',
          '--config.checkpoint.every_steps=1', '--config.optim.warmup_epochs=0.0']  # fmt: skip
  with pytest.raises(UserError, match=r'NaN or infinite at step \d+ \(epoch 1\).*optim.lr=1e\+20'):
    loop.run(runs.config_of(*args), tmp_path / 'run')
  # what was saved before is whole and good
  kept = runs.checkpoints(tmp_path / 'run')
  if kept:
    assert all(np.isfinite(v).all() for k, v in runs.saved(tmp_path / 'run').items()
               if 'params' in k)  # fmt: skip


def test_workdir_under_a_file_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r'cannot be written .*another --workdir'):
    loop.run(runs.config_of(), tmp_path / 'file' / 'run')


def test_config_json_that_is_not_json(tmp_path):
  (tmp_path / 'config.json').write_text('{')
  with pytest.raises(UserError, match='is not valid JSON'):
    files.prepare(tmp_path, runs.config_of())


@pytest.mark.process
@pytest.mark.parametrize('kib', [100, 24])  # too little for a checkpoint, for all
def test_full_disk_keeps_the_last_whole_checkpoint(tmp_path, kib):
  small = tmp_path / 'small'
  small.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', f'size={kib}k', 'tmpfs', str(small)]
  if os.geteuid() != 0 or shutil.which('mount') is None:
    pytest.skip('mounting a tmpfs needs root')
  if subprocess.run(mount, capture_output=True).returncode != 0:
    pytest.skip('a tmpfs cannot be mounted here')
  try:
    process = runs.start(small / 'run', '--config=digits_lt.py:fass', *runs.SHORT, linear=True)
    out = process.communicate()[0]
    assert process.returncode == 1, out
    sentence = [line for line in out.splitlines() if line.startswith('fass_jax: ')]
    assert len(sentence) == 1 and 'is full' in sentence[0], out
    assert ('epoch 5/5' in out) == (kib == 100)  # the checkpoint comes at the end
    assert 'Traceback' not in out
  finally:
    subprocess.run(['umount', str(small)], check=True)


def test_no_readable_checkpoint_is_said(linear, tmp_path):
  path = tmp_path / 'run'
  args = ['--config=digits_lt.py:ce', *runs.SHORT]
  loop.run(runs.config_of(*args), path)
  for file in (path / 'checkpoints').rglob('*'):
    if file.is_file():
      file.write_bytes(b'')
  with pytest.raises(UserError, match='None of the checkpoints'):
    loop.run(runs.config_of(*args), path)


def test_other_errors_stay_what_they_are(tmp_path):
  with pytest.raises(ValueError, match='something else'), files.explain_full_disk(tmp_path):
    raise ValueError('something else')
  with pytest.raises(UserError, match='is full'), files.explain_full_disk(tmp_path):
    try:
      raise OSError(28, 'No space left on device')
    except OSError as error:
      raise RuntimeError('could not save') from error


def test_label_out_of_range_and_empty_class():
  data = load(runs.config_of())
  wrong = data._replace(test_labels=np.array([0, 11], np.int32), test_images=data.test_images[:2])
  with pytest.raises(UserError, match='test set has label 11.*0 to 9'):
    check(wrong)
  keep = data.train_labels != 4
  with pytest.raises(UserError, match='class 4 .* has no training image'):
    check(data._replace(train_labels=data.train_labels[keep]))


def test_images_can_be_scaled():
  images = load(runs.config_of('--config.data.image_size=16')).train_images
  assert images.shape == (383, 16, 16, 3) and images.dtype == np.uint8
  flat = resize(np.full((2, 8, 8, 3), 7, np.uint8), 4)
  assert flat.shape == (2, 4, 4, 3) and (flat == 7).all()


def test_nan_becomes_null_and_files_are_replaced_whole(tmp_path):
  value = {'a': float('nan'), 'b': [np.float32(1.5), np.arange(2)], 'c': None}
  assert files.jsonable(value) == {'a': None, 'b': [1.5, [0, 1]], 'c': None}
  files.write_json(tmp_path / 'x.json', value)
  assert [p.name for p in pathlib.Path(tmp_path).iterdir()] == ['x.json']
