"""A run that is killed, stopped or damaged and started again ends as one that nothing disturbed."""

import pathlib
import shutil
import signal
import time

import pytest

from fass_jax import main
from fass_jax.run import loop
from tests import runs

SAVING = runs.EVERY
ARGS = [a for a in SAVING if 'every_steps' not in a]  # saves at the end alone


@pytest.fixture(scope='module')
def whole():
  """The work directory of a run on the real network that nothing disturbed."""
  return runs.digits_run()


@pytest.fixture(scope='module')
def quick(tmp_path_factory):
  """The same of the linear net, whose state has all that a run has but batch normalisation."""
  path = tmp_path_factory.mktemp('quick') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    loop.run(runs.config_of(*SAVING), path)
  return path


@pytest.mark.process
@pytest.mark.real_net
def test_a_killed_process_is_continued_bit_equal(tmp_path, whole):
  """SIGKILL inside an epoch, as soon as a checkpoint lies there; the rest is done in this one."""
  path, steps = tmp_path / 'killed', tmp_path / 'steps'
  process = runs.start(path, *SAVING, step_file=steps, sleep=0.15, cover=False)
  seen = runs.wait_for_checkpoint(process, path, 6)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  done = steps.stat().st_size
  assert seen % 6 and seen <= done < 30
  loop.run(runs.config_of(*SAVING), path)
  runs.assert_same_run(path, whole)
  assert [r['epoch'] for r in runs.records(path)] == [1, 2, 3, 4, 5]


def test_killed_again_and_again_is_bit_equal(tmp_path, quick, monkeypatch, caplog):
  """Before and after the first checkpoint, and while the last epoch goes on."""
  runs.listen(caplog)
  runs.use_linear_net(monkeypatch)
  path, config = tmp_path / 'killed', runs.config_of(*SAVING)
  # steps of each start, and the checkpoint that the next begins at
  for dies, saved in ((4, 0), (13, 10), (18, 25)):
    with monkeypatch.context() as patch, pytest.raises(runs.Killed):
      runs.die_at(patch, dies)
      loop.run(config, path)
    assert [0, *runs.checkpoints(path)][-1] == saved
  assert 'Resumed at step 10 ' in caplog.text
  loop.run(config, path)
  assert 'Resumed at step 25 ' in caplog.text
  runs.assert_same_run(path, quick)
  assert [r['epoch'] for r in runs.records(path)] == [1, 2, 3, 4, 5]


@pytest.mark.process
def test_sigterm_saves_inside_an_epoch_and_continues(tmp_path, quick, monkeypatch):
  path, steps = tmp_path / 'stopped', tmp_path / 'steps'
  process = runs.start(path, *ARGS, step_file=steps, sleep=0.1, linear=True)
  while not (steps.exists() and steps.stat().st_size >= 9):
    assert process.poll() is None, process.communicate()[0]
    time.sleep(0.01)
  process.send_signal(signal.SIGTERM)
  out = process.communicate()[0]
  assert process.returncode == 143, out
  step = runs.checkpoints(path)[-1]
  assert 9 <= step == steps.stat().st_size < 30
  assert f'SIGTERM: saved at step {step}' in out and 'Traceback' not in out
  runs.use_linear_net(monkeypatch)
  loop.run(runs.config_of(*ARGS), path)
  runs.assert_same_run(path, quick)


def test_signals_save_where_they_come_and_no_step_is_done_twice(
  tmp_path, quick, monkeypatch, capsys
):
  """Interrupted, then terminated, in this process; the command line itself takes the signals."""
  runs.use_linear_net(monkeypatch)
  args, steps = [*ARGS, f'--workdir={tmp_path / "run"}'], []
  begins = 0
  for number, code, at in ((signal.SIGINT, 130, 9), (signal.SIGTERM, 143, 16), (None, 0, 30)):

    def act(number=number, at=at):
      steps.append(1)
      if number and len(steps) == at:
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
      runs.before_each_step(patch, act)
      assert main.main(args) == code
    assert len(steps) == at == runs.checkpoints(tmp_path / 'run')[-1]
    said = capsys.readouterr().err
    assert f'Resumed at step {begins} ' in said or not begins
    assert number is None or f'{number.name}: saved at step {at} in' in said
    begins = at
  runs.assert_same_run(tmp_path / 'run', quick)


@pytest.fixture
def finished(tmp_path, quick, monkeypatch):
  """A copy of the undisturbed run, to be spoilt."""
  runs.use_linear_net(monkeypatch)
  return pathlib.Path(shutil.copytree(quick, tmp_path / 'run'))


def test_a_finished_run_is_left_as_it_is(finished):
  before, records = runs.saved(finished), runs.records(finished)
  summary = loop.run(runs.config_of(*SAVING), finished)
  assert runs.records(finished) == records and summary['epochs'] == 5
  assert all((before[k] == v).all() for k, v in runs.saved(finished).items())


def test_damaged_newest_checkpoint_falls_back(finished, quick, caplog):
  assert runs.checkpoints(finished) == [25, 30]
  for file in (finished / 'checkpoints' / 'step_30').rglob('*'):
    if file.is_file() and file.stat().st_size > 200:
      file.write_bytes(file.read_bytes()[:100])
  loop.run(runs.config_of(*SAVING), finished)
  assert 'Checkpoint 30 is damaged' in caplog.text
  runs.assert_same_run(finished, quick)


def test_torn_metrics_line_is_written_again(finished):
  rows = runs.records(finished)
  with open(finished / 'metrics.jsonl', 'a') as file:
    file.write('{"epoch": 6, "st')
  loop.run(runs.config_of(*SAVING), finished)
  assert runs.records(finished) == rows
