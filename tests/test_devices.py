"""One device, several, and several processes: the same run; killed on some, resumed on others."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fass_jax import devices
from fass_jax.types import UserError
from tests import runs

# FASS from its first step on; 202 images a step and 61 mixed ones, which 4 devices do not divide;
# an epoch is a step
FASS = [
  '--config=digits_lt.py:fass', '--config.batch_size=202', '--config.last_batch=drop',
  '--config.streams.pair.start=on', '--config.engine.precision=float64',
]  # fmt: skip
# one pass for all views: compiles in a third of the time
SHARED = [*FASS, '--config.forward=joint', '--config.epochs=12', '--config.checkpoint.every_s=0']
EXACT = {'JAX_ENABLE_X64': '1'}

# a small network with batch normalisation, trained on 1 device and on 4 by the real loop
COMPARED = """
import json, pathlib, sys
import jax
from flax import linen as nn
from fass_jax import nets
from fass_jax.nets.base import assemble
from fass_jax.nets.heads import LinearHead
from fass_jax.nets.norm import BatchNorm
from tests import runs

class Small(nn.Module):
  dtype: object
  @nn.compact
  def __call__(self, x, train):
    for width in (8, 16):
      x = nn.Conv(width, (3, 3), dtype=self.dtype, param_dtype=self.dtype, use_bias=False)(x)
      x = nn.relu(BatchNorm()(x, train))
    return x.mean((1, 2))

def build(*args, precision, **how):
  dtype = jax.numpy.dtype(precision)
  return assemble(Small(dtype), LinearHead(args[-1]))

nets.build = build
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


def train(workdir, count, **env):
  """Trains on so many devices."""
  command = [sys.executable, '-m', 'fass_jax.main', f'--workdir={workdir}', *SHARED]
  got = subprocess.run(
    command, cwd=runs.REPO, env=environment(count, **env), capture_output=True, text=True
  )
  assert got.returncode == 0, got.stdout + got.stderr
  return got.stderr


@pytest.mark.slow
def test_four_devices_are_one(tmp_path):
  got = subprocess.run(
    [sys.executable, '-c', COMPARED, str(tmp_path), *FASS], cwd=runs.REPO, env=environment(4),
    capture_output=True, text=True,
  )  # fmt: skip
  assert got.returncode == 0, got.stderr
  found = {k: np.array(v) for k, v in json.loads(got.stdout.splitlines()[-1]).items()}
  assert found['float64 4'].shape == (20,) and np.ptp(found['float64 4']) > 0.5
  np.testing.assert_allclose(found['float64 4'], found['float64 1'], rtol=0, atol=1e-9)
  # in float32 runs part after some steps
  np.testing.assert_allclose(found['float32 4'], found['float32 1'], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_processes_stop_together_and_one_device_goes_on(tmp_path):
  """A signal to one process: both save the same step; the rest runs on one device."""
  train(tmp_path / 'alone', 1, **EXACT)
  alone, tmp_path = losses(tmp_path / 'alone'), tmp_path / 'shared'
  command = [sys.executable, 'launch/local.py', '--processes=2', '--devices=2',
             f'--workdir={tmp_path}', *SHARED]  # fmt: skip
  process = subprocess.Popen(
    command, cwd=runs.REPO, env=environment(1, JAX_PLATFORMS='cpu', **EXACT), text=True,
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
  )  # fmt: skip
  end = time.monotonic() + 200
  while time.monotonic() < end and process.poll() is None:
    if (tmp_path / 'metrics.jsonl').exists() and len(runs.records(tmp_path)) >= 3:
      break
    time.sleep(0.05)
  found = subprocess.run(['pgrep', '-P', str(process.pid)], capture_output=True, text=True)
  children = [int(x) for x in found.stdout.split()]
  assert len(children) == 2, process.communicate()[0]
  os.kill(children[1], signal.SIGTERM)  # not the one that writes
  out = process.communicate(timeout=200)[0]
  assert process.returncode == 128 + signal.SIGTERM, out
  assert out.count('SIGTERM: saved at step') == 1
  (step,) = runs.checkpoints(tmp_path)
  assert 3 <= step < 12
  said = train(tmp_path, 1, **EXACT)
  assert f'Resumed at step {step}' in said
  np.testing.assert_allclose(losses(tmp_path), alone, rtol=0, atol=1e-9)
  assert json.loads((tmp_path / 'summary.json').read_text())['last']['epoch'] == 12


def test_a_failed_process_ends_the_others(tmp_path):
  begin = time.monotonic()
  got = subprocess.run(
    [sys.executable, 'launch/local.py', '--config=digits_lt.py:nothing'], cwd=runs.REPO,
    env=environment(1, JAX_PLATFORMS='cpu'), capture_output=True, text=True,
  )  # fmt: skip
  assert got.returncode == 1 and "There is no method 'nothing'" in got.stderr
  assert time.monotonic() - begin < 60


def test_so_many_devices_must_be_there():
  with pytest.raises(UserError, match='devices=99 is not to be had: there are'):
    devices.place(99)


def test_rows_are_padded_to_a_multiple():
  alone = devices.place(1)
  assert alone == devices.ALONE and devices.padded(39, alone) == 39
  np.testing.assert_array_equal(devices.own_rows(3, alone), [0, 1, 2])
