"""One device, several, and several processes: the same run; killed on some, resumed on others."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from fass_jax import types
from fass_jax.engine import devices
from fass_jax.run import loop
from fass_jax.types import UserError
from launch import local
from tests import runs

# FASS from its first step on; 202 images a step and 61 mixed ones, which 4 devices do not divide;
# an epoch is a step
FASS = [
  '--config=digits_lt.py:fass', '--config.batch_size=202', '--config.last_batch=drop',
  '--config.streams.pair.start=on', '--config.engine.precision=float64', '--config.eval.every=20',
]  # fmt: skip
LONG = [*FASS, '--config.epochs=20', '--config.checkpoint.every_s=0']
EXACT = {'JAX_ENABLE_X64': '1'}

# the real program and loop with a small network that has batch normalisation
SMALL = """
import json, pathlib, sys
import jax, pytest
from fass_jax import main
from tests import runs

runs.use_tiny_net(pytest.MonkeyPatch())
"""
# trained on 1 device and on 4
COMPARED = (
  SMALL
  + """
found = {}
for precision, epochs in (('float32', 4), ('float64', 20)):
  jax.config.update('jax_enable_x64', precision == 'float64')
  for count in (1, 4):
    config = runs.config_of(*sys.argv[2:], f'--config.epochs={epochs}',
      f'--config.engine.devices={count}', f'--config.engine.precision={precision}')
    path = pathlib.Path(sys.argv[1]) / f'{precision}{count}'
    state, rows = runs.in_memory(config, path)
    leaf = jax.tree.leaves(state.params)[0]
    assert leaf.dtype == precision and len(leaf.sharding.device_set) == count
    found[f'{precision} {count}'] = [r['loss'] for r in rows]
print(json.dumps(found))
"""
)
RUN = SMALL + 'sys.exit(main.main(sys.argv[1:]))'


def environment(count, **more):
  """Returns an environment with so many made-up CPU devices, whatever this session has."""
  kept = [f for f in os.environ.get('XLA_FLAGS', '').split() if 'device_count' not in f]
  flags = [*kept, f'--xla_force_host_platform_device_count={count}']
  env = os.environ | {'XLA_FLAGS': ' '.join(flags)} | more
  env.pop('COVERAGE_PROCESS_CONFIG', None)
  return env


def losses(workdir):
  """Returns the loss of each epoch, here of each step."""
  return np.array([r['loss'] for r in runs.records(workdir)])


def start(workdir, env):
  """Starts the program as a process."""
  return subprocess.Popen(
    [sys.executable, '-c', RUN, f'--workdir={workdir}', *LONG], cwd=runs.REPO, env=env, text=True,
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
  )  # fmt: skip


@pytest.fixture
def double(monkeypatch):
  """This process computes with the small network in float64, as the others do."""
  runs.use_tiny_net(monkeypatch)
  jax.config.update('jax_enable_x64', True)
  yield
  jax.config.update('jax_enable_x64', False)


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
  """Losses of 4 steps in float32 and 20 in float64 (`<precision> <devices>`)."""
  got = subprocess.run(
    [sys.executable, '-c', COMPARED, str(tmp_path_factory.mktemp('compared')), *FASS],
    cwd=runs.REPO, env=environment(4), capture_output=True, text=True,
  )  # fmt: skip
  assert got.returncode == 0, got.stderr
  return {k: np.array(v) for k, v in json.loads(got.stdout.splitlines()[-1]).items()}


@pytest.mark.process
def test_four_devices_are_one(compared):
  assert compared['float64 4'].shape == (20,) and np.ptp(compared['float64 4']) > 0.5
  np.testing.assert_allclose(compared['float64 4'], compared['float64 1'], rtol=0, atol=1e-9)
  # in float32 runs part after some steps
  np.testing.assert_allclose(compared['float32 4'], compared['float32 1'], rtol=0, atol=1e-5)


@pytest.mark.process
def test_two_processes_stop_together_and_one_device_goes_on(compared, double, tmp_path, caplog):
  """A signal to one process: both save the same step; the rest runs on one device."""
  alone, shared = compared['float64 1'], tmp_path / 'shared'
  port, env = local.free_port(), environment(1, JAX_PLATFORMS='cpu', **EXACT)
  both = [start(shared, env | local.environment(i, 2, 2, port, env)) for i in (0, 1)]
  end = time.monotonic() + 600
  while time.monotonic() < end and all(p.poll() is None for p in both):
    if (shared / 'metrics.jsonl').exists() and len(runs.records(shared)) >= 3:
      break
    time.sleep(0.02)
  both[1].send_signal(signal.SIGTERM)  # not the one that writes
  outs = [p.communicate(timeout=600)[0] for p in both]
  assert [p.returncode for p in both] == [128 + signal.SIGTERM] * 2, outs
  assert 'batches over 4 devices' in outs[0] and 'SIGTERM: saved at step' in outs[0]
  assert 'saved at step' not in outs[1]  # the first one talks
  (step,) = runs.checkpoints(shared)
  assert 3 <= step < 20
  runs.listen(caplog)
  loop.run(runs.config_of(*LONG), shared)
  assert f'Resumed at step {step}' in caplog.text
  np.testing.assert_allclose(losses(shared), alone, rtol=0, atol=1e-9)
  assert json.loads((shared / 'summary.json').read_text())['last']['epoch'] == 20


@pytest.mark.process
def test_a_failed_process_ends_the_others(tmp_path):
  begin = time.monotonic()
  got = subprocess.run(
    [sys.executable, 'launch/local.py', '--config=digits_lt.py:nothing'], cwd=runs.REPO,
    env=environment(1, JAX_PLATFORMS='cpu'), capture_output=True, text=True,
  )  # fmt: skip
  assert got.returncode == 1 and "There is no method 'nothing'" in got.stderr
  assert time.monotonic() - begin < 60


def test_so_many_devices_must_be_there():
  with pytest.raises(UserError, match='devices=99 is not possible: there are'):
    devices.place(99)


def test_rows_are_padded_to_a_multiple():
  alone = devices.place(1)
  assert alone == types.ALONE and devices.padded(39, alone) == 39
  np.testing.assert_array_equal(devices.own_rows(3, alone), [0, 1, 2])
