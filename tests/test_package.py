"""The package as users get it: the wheel, its pure functions by name, the console script."""

import glob
import os
import pathlib
import subprocess
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

import fass_jax
from fass_jax import config as configs
from fass_jax.command import console
from tests import runs


def modules(root, folder):
  """Returns the Python files and tables below a folder of a checkout, relative to it."""
  files = subprocess.check_output(['git', 'ls-files', folder], cwd=root, text=True).split()
  return {str(pathlib.Path(f).relative_to(folder)) for f in files if f.endswith(('.py', '.csv'))}


@pytest.mark.process
def test_the_wheel_holds_every_module_and_config_and_runs_elsewhere(tmp_path):
  pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q']
  here = tmp_path / 'checkout'  # the build writes beside its sources
  subprocess.run(['git', 'clone', '-q', str(runs.REPO), str(here)], check=True)
  for name in subprocess.check_output(
    ['git', 'ls-files', '-m', '-o', '--exclude-standard'], cwd=runs.REPO, text=True
  ).split():  # what is not committed yet is tested too
    if (runs.REPO / name).exists() and name.endswith(('.py', '.csv', '.toml', '.typed')):
      (here / name).parent.mkdir(parents=True, exist_ok=True)
      (here / name).write_bytes((runs.REPO / name).read_bytes())
  build = [*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', str(tmp_path), str(here)]
  subprocess.run(build, check=True, capture_output=True)
  (wheel,) = glob.glob(str(tmp_path / '*.whl'))
  held = {n for n in zipfile.ZipFile(wheel).namelist() if 'dist-info' not in n}
  expected = {f'fass_jax/{n}' for n in modules(runs.REPO, 'fass_jax')}
  expected |= {f'fass_jax/configs/{n}' for n in modules(runs.REPO, 'configs')}
  assert held == expected | {'fass_jax/py.typed'}
  target = tmp_path / 'installed'
  install = [*pip, 'install', '--no-deps', '--no-index', '--target', str(target), wheel]
  subprocess.run(install, check=True, capture_output=True)
  done = subprocess.run(
    [sys.executable, '-m', 'fass_jax.main', '--config=digits_lt.py:ldam+fass', '--recipe'],
    cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(target)}, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert 'digits_lt, method fass+ldam' in done.stdout


def test_pure_functions_are_offered_by_name():
  assert {'score', 'mixing', 'losses', 'sampling', 'counts', 'train'} <= set(dir(fass_jax))
  logits, labels = jnp.zeros((2, 3)), jnp.array([0, 2])
  counts = jnp.array([6, 3, 1])
  # -log(n_y / sum n): the softmax of equal logits weighted by the counts
  np.testing.assert_allclose(
    fass_jax.losses.balanced_softmax(logits, labels, counts), -np.log([0.6, 0.1]), rtol=1e-6
  )
  np.testing.assert_allclose(
    fass_jax.losses.logit_adjustment(logits, labels, counts),
    fass_jax.losses.balanced_softmax(logits, labels, counts),
    rtol=1e-6,
  )
  np.testing.assert_allclose(fass_jax.losses.cross_entropy(logits, labels), np.log([3, 3]), 1e-6)
  assert fass_jax.losses.ldam(logits, labels, counts, scale=30.0).shape == (2,)
  with pytest.raises(AttributeError, match='no attribute .nothing'):
    fass_jax.nothing  # noqa: B018


@pytest.mark.process
def test_importing_the_package_loads_no_jax():
  program = 'import sys, fass_jax; print("jax" in sys.modules, "flax" in sys.modules)'
  out = subprocess.check_output([sys.executable, '-c', program], cwd=runs.REPO, text=True)
  assert out.split() == ['False', 'False']


def test_a_run_is_trained_from_python(tmp_path, monkeypatch):
  runs.use_linear_net(monkeypatch)
  config = configs.with_methods(configs.base_config('digits_lt'), 'fass')
  config.epochs, config.data.augment = 2, ()
  summary = fass_jax.train(config, tmp_path / 'run')
  assert (tmp_path / 'run' / 'summary.json').exists()
  assert 0 <= summary['last']['top1'] <= 1 and summary['epochs'] == 2


def test_the_console_script_hands_its_words_to_the_commands(capsys):
  assert console.run([]) == 0
  out = capsys.readouterr().out
  assert all(f'fass-jax {name}' in out for name in ('train', 'predict', 'evaluate'))
  assert console.run(['trian']) == 1
  assert "did you mean 'train'?" in capsys.readouterr().err
  assert console.run(['train', '--help']) == 0
  assert '--config=FILE' in capsys.readouterr().out
  assert console.run(['evaluate']) == 1
  assert 'give --workdir=DIR' in capsys.readouterr().err
