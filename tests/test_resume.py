import shutil
import signal
import time

import pytest

from fass_jax import train
from tests import runs

EVERY = ['--config.checkpoint.every_s=0', '--config.checkpoint.every_steps=7']


def undisturbed(tmp_path, *args):
  path = tmp_path / 'whole'
  train.run(runs.config_of(*args), path)
  return path


def kill_three_times(tmp_path, args, sleep):
  """Kills a run each time a new checkpoint came, and lets the fourth start end."""
  path, steps = tmp_path / 'killed', tmp_path / 'steps'
  seen, inside = 0, 0
  for _ in range(3):
    process = runs.start(path, *args, step_file=steps, sleep=sleep)
    seen = runs.wait_for_checkpoint(process, path, seen)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    inside += seen % 6 != 0
  process = runs.start(path, *args, step_file=steps)
  out = process.communicate()[0]
  assert process.returncode == 0, out
  assert 'Resumed at step' in out
  assert int(out.split('Resumed at step ')[1].split()[0]) >= seen
  return path, inside, steps.stat().st_size


@pytest.mark.slow
def test_killed_three_times_is_bit_equal(tmp_path):
  args = ['--config.epochs=10', *EVERY]
  path, inside, executed = kill_three_times(tmp_path, args, sleep=0.05)
  assert inside >= 1
  assert 60 <= executed < 1.5 * 60
  runs.assert_same_run(path, undisturbed(tmp_path, *args))
  assert [r['epoch'] for r in runs.records(path)] == list(range(1, 11))


SEED3 = ['--config.epochs=4', '--config.checkpoint.every_s=0', '--config.seed=3']


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  return undisturbed(tmp_path_factory.mktemp('whole'), *SEED3)


@pytest.mark.slow
@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_inside_an_epoch_and_continues(tmp_path, whole, number, code):
  args = SEED3
  path, steps = tmp_path / 'stopped', tmp_path / 'steps'
  process = runs.start(path, *args, step_file=steps, sleep=0.1)
  while not (steps.exists() and steps.stat().st_size >= 9):
    assert process.poll() is None, process.communicate()[0]
    time.sleep(0.01)
  process.send_signal(number)
  out = process.communicate()[0]
  assert process.returncode == code, out
  (step,) = runs.checkpoints(path)
  assert f'{number.name}: saved at step {step}' in out and 'Traceback' not in out
  process = runs.start(path, *args, step_file=steps)
  out = process.communicate()[0]
  assert process.returncode == 0 and f'Resumed at step {step} ' in out
  assert steps.stat().st_size == 24  # no step was done twice
  runs.assert_same_run(path, whole)


def test_a_finished_run_is_left_as_it_is(tmp_path):
  args = runs.SHORT
  path = undisturbed(tmp_path, *args)
  before, records = runs.saved(path), runs.records(path)
  summary = train.run(runs.config_of(*args), path)
  assert runs.records(path) == records and summary['epochs'] == 3
  assert all((before[k] == v).all() for k, v in runs.saved(path).items())


def test_damaged_newest_checkpoint_falls_back(tmp_path, caplog):
  args = ['--config.epochs=3', *EVERY]
  path = undisturbed(tmp_path, *args)
  steps = runs.checkpoints(path)
  assert steps == [14, 18]
  whole = tmp_path / 'copy'
  shutil.copytree(path, whole)
  for file in (whole / 'checkpoints' / 'step_18').rglob('*'):
    if file.is_file() and file.stat().st_size > 200:
      file.write_bytes(file.read_bytes()[:100])
  train.run(runs.config_of(*args), whole)
  assert 'Checkpoint 18 is damaged' in caplog.text
  runs.assert_same_run(whole, path)


def test_torn_metrics_line_is_written_again(tmp_path):
  args = runs.SHORT
  path = undisturbed(tmp_path, *args)
  rows = runs.records(path)
  with open(path / 'metrics.jsonl', 'a') as file:
    file.write('{"epoch": 4, "st')
  train.run(runs.config_of(*args), path)
  assert runs.records(path) == rows
