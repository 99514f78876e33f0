"""Work directories of an older commit are read: predict, evaluate, start, resume."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fass_jax import evaluate, main, predict
from fass_jax.recipe.prior import implied
from fass_jax.workdir.open import open_run
from tests import runs

FIRST = '5a7348125d99'  # before keys were renamed and the prior was noted

pytestmark = pytest.mark.process


@pytest.fixture(scope='module')
def old(tmp_path_factory):
  """A run of one epoch that the code of that commit trained."""
  known = ['git', '-C', str(runs.REPO), 'cat-file', '-e', f'{FIRST}^{{commit}}']
  if subprocess.run(known, capture_output=True).returncode:
    pytest.skip(f'the history of this clone does not reach back to {FIRST}')
  folder = tmp_path_factory.mktemp('old')
  tree = folder / 'code'
  git = ['git', '-C', str(runs.REPO), 'worktree']
  subprocess.run([*git, 'add', '--detach', str(tree), FIRST], check=True, capture_output=True)
  try:
    sets = ['epochs=2', 'net.depth=8', 'loss_args.max_margin=0.4', 'batch_size=128']
    subprocess.run(
      [sys.executable, '-m', 'fass_jax.main', '--config=configs/digits_lt.py:ldam_plain',
       f'--workdir={folder / "run"}', *(f'--config.{s}' for s in sets)],
      cwd=tree, env=os.environ | {'PYTHONPATH': str(tree)}, check=True, capture_output=True,
    )  # fmt: skip
  finally:
    subprocess.run([*git, 'remove', '--force', str(tree)], capture_output=True)
  return folder / 'run'


def test_its_config_has_todays_keys_and_its_prior_follows_from_it(old):
  assert json.loads((old / 'config.json').read_text())['loss_args']['max_margin'] == 0.4
  run = open_run(str(old))
  assert run.config.loss_args.ldam.max_margin == 0.4
  assert run.config.loss_args.focal.gamma == 1.0 and 'max_margin' not in run.config.loss_args
  assert run.implied is None
  got = implied(run.config, run.counts)
  np.testing.assert_allclose(got.prior, np.asarray(run.counts) / sum(run.counts))
  assert got.guesses == ("the loss 'ldam' is not a plain cross-entropy",)


def test_it_predicts_and_is_evaluated(old, tmp_path, capsys):
  photo = tmp_path / 'photo.png'
  Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(photo)
  words = [f'--workdir={old}', str(photo), '--prior=uniform', '--csv=-', '--top=10']
  assert predict.main(words) == 0
  rows = capsys.readouterr().out.splitlines()[1:]
  assert sum(float(row.split(',')[3]) for row in rows) == pytest.approx(1, abs=1e-4)
  assert evaluate.main([f'--workdir={old}', '--classifier=post_hoc']) == 0
  found = json.loads((old / 'evaluation-post_hoc.json').read_text())
  assert 0 < found['runs'][0]['metrics']['top1'] <= 1


def test_another_run_starts_from_it_and_the_same_command_continues_it(old, tmp_path):
  words = ['--config=digits_lt.py:ldam_plain', '--config.epochs=2', '--config.net.depth=8']
  words += ['--config.loss_args.ldam.max_margin=0.4', '--config.batch_size=128']
  start = [*words, f'--config.start.run={old}', "--config.optim.only=('head',)"]
  assert main.main([*start, f'--workdir={tmp_path / "new"}']) == 0
  shutil.copytree(old, tmp_path / 'copy')
  lines = (tmp_path / 'copy' / 'metrics.jsonl').read_text()
  assert (
    main.main([*words, f'--workdir={tmp_path / "copy"}']) == 0
  )  # it is over: nothing is trained
  assert (tmp_path / 'copy' / 'metrics.jsonl').read_text() == lines
