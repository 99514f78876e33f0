"""What only an accelerator can show: JAX_PLATFORMS=cuda python -m pytest -m gpu."""

import jax
import numpy as np
import pytest

from fass_jax.run import loop
from tests import runs

pytestmark = [
  pytest.mark.gpu,
  pytest.mark.real_net,
  pytest.mark.skipif(jax.default_backend() == 'cpu', reason='needs an accelerator'),
]
ARGS = ['--config.epochs=4', '--config.checkpoint.every_s=0']


def trained(path, *args):
  loop.run(runs.config_of(*ARGS, *args), path)
  return runs.saved(path)


def test_two_runs_are_bit_equal(tmp_path):
  one, two = (trained(tmp_path / name) for name in 'ab')
  for name in one:
    np.testing.assert_array_equal(one[name], two[name], err_msg=name)


@pytest.mark.parametrize('together', ['interleaved', 'batched'])
def test_several_seeds_train(tmp_path, together):
  args = ['--config.seeds=2', f'--config.engine.together={together}']
  summary = loop.run(runs.config_of(*ARGS, *args), tmp_path)
  assert summary['seeds'] == [0, 1] and all(r['last']['top1'] > 0.1 for r in summary['runs'])


@pytest.mark.parametrize('precision', ['float32', 'tf32', 'bfloat16'])
def test_every_precision_trains(tmp_path, precision):
  args = [*ARGS, f'--config.engine.precision={precision}']
  assert loop.run(runs.config_of(*args), tmp_path)['last']['top1'] > 0.1
