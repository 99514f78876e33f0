import pathlib
import shutil
import signal
import time

import pytest

from fass_jax.run import loop
from tests import runs

ARGS = [*runs.SHORT, '--config.seed=3']
EVERY = [*ARGS, '--config.checkpoint.every_steps=5']


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The work directory of a run that nothing disturbed."""
  path = tmp_path_factory.mktemp('whole') / 'run'
  loop.run(runs.config_of(*EVERY), path)
  return path


def kill_three_times(tmp_path, args, sleep):
  """Kills a run each time a new checkpoint came, and lets the fourth start end."""
  path, steps = tmp_path / 'killed', tmp_path / 'steps'
  seen, inside = 0, 0
  for _ in range(3):
    process = runs.start(path, *args, step_file=steps, sleep=sleep, cover=False)
    seen = runs.wait_for_checkpoint(process, path, seen)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    inside += seen % 6 != 0
  process = runs.start(path, *args, step_file=steps, cover=False)
  out = process.communicate()[0]
  assert process.returncode == 0, out
  assert 'Resumed at step' in out
  assert int(out.split('Resumed at step ')[1].split()[0]) >= seen
  return path, inside, steps.stat().st_size


@pytest.mark.slow
def test_killed_three_times_is_bit_equal(tmp_path, whole):
  path, inside, executed = kill_three_times(tmp_path, EVERY, sleep=0.15)
  assert inside >= 1
  assert 30 <= executed < 1.5 * 30
  runs.assert_same_run(path, whole)
  assert [r['epoch'] for r in runs.records(path)] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_signals_save_inside_an_epoch_and_continue(tmp_path, whole):
  """Interrupted, then terminated: each saves where it is, and no step is done twice."""
  path, steps = tmp_path / 'stopped', tmp_path / 'steps'
  for number, code, after in ((signal.SIGINT, 130, 9), (signal.SIGTERM, 143, 16)):
    process = runs.start(path, *ARGS, step_file=steps, sleep=0.1)
    while not (steps.exists() and steps.stat().st_size >= after):
      assert process.poll() is None, process.communicate()[0]
      time.sleep(0.01)
    process.send_signal(number)
    out = process.communicate()[0]
    assert process.returncode == code, out
    step = runs.checkpoints(path)[-1]
    assert step == steps.stat().st_size
    assert f'{number.name}: saved at step {step}' in out and 'Traceback' not in out
  process = runs.start(path, *ARGS, step_file=steps)
  out = process.communicate()[0]
  assert process.returncode == 0 and f'Resumed at step {step} ' in out
  assert steps.stat().st_size == 30
  runs.assert_same_run(path, whole)


@pytest.fixture
def finished(tmp_path, whole):
  """A copy of the undisturbed run, to be spoilt."""
  return pathlib.Path(shutil.copytree(whole, tmp_path / 'run'))


def test_a_finished_run_is_left_as_it_is(finished):
  before, records = runs.saved(finished), runs.records(finished)
  summary = loop.run(runs.config_of(*EVERY), finished)
  assert runs.records(finished) == records and summary['epochs'] == 5
  assert all((before[k] == v).all() for k, v in runs.saved(finished).items())


def test_damaged_newest_checkpoint_falls_back(finished, whole, caplog):
  assert runs.checkpoints(finished) == [25, 30]
  for file in (finished / 'checkpoints' / 'step_30').rglob('*'):
    if file.is_file() and file.stat().st_size > 200:
      file.write_bytes(file.read_bytes()[:100])
  loop.run(runs.config_of(*EVERY), finished)
  assert 'Checkpoint 30 is damaged' in caplog.text
  runs.assert_same_run(finished, whole)


def test_torn_metrics_line_is_written_again(finished):
  rows = runs.records(finished)
  with open(finished / 'metrics.jsonl', 'a') as file:
    file.write('{"epoch": 6, "st')
  loop.run(runs.config_of(*EVERY), finished)
  assert runs.records(finished) == rows
