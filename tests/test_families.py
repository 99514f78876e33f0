"""Methods that need the whole network: second stages, classifiers at test time, branches."""

import functools
import json
import pathlib

import numpy as np
import pytest

from fass_jax import checkpoint, train
from tests import pieces, runs

SETS = ['--config.epochs=5', '--config.eval.every=5']


def finished(method, folder, *sets):
  """Trains a method to its end; returns its summary and its parameters."""
  config = runs.config_of(f'--config=digits_lt.py:{method}', *SETS, *sets)
  summary = train.run(config, folder)
  return summary, runs.paths_of(checkpoint.variables(pathlib.Path(folder) / 'checkpoints')[0])


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
  """A run of CE: its folder, summary and parameters."""
  folder = tmp_path_factory.mktemp('ce')
  return folder, *finished('ce', folder)


def moved(before, after):
  """Returns the paths whose values differ, and those that are new."""
  return {k for k in after if k not in before or not np.array_equal(before[k], after[k])}


def stage(method, parts, plain, folder):
  """A second stage on the finished run moves these parts alone, and its predictions change."""
  summary, params = finished(method, folder, f'--config.start.run={plain[0]}')
  changed = moved(plain[2], params)
  assert changed == {p for p in params if any(x in p for x in parts)}
  assert summary['last']['nll'] != plain[1]['last']['nll']


def classifier(method, plain, folder):
  """Other predictions of a network that is trained as without it."""
  summary, params = finished(method, folder)
  assert summary['classifier'] == method
  assert summary['last']['per_class'] != summary['as_trained']['last']['per_class']
  if method != 'tau_norm':  # which trains on less
    assert not moved(plain[2], params)
    assert summary['as_trained']['last'] == plain[1]['last']
  else:
    assert summary['fitted']['last']['tau'] >= 0


def two_branches(plain, folder):
  """Both branches learn, the second of rare classes; alpha falls, and with it the first's part."""
  summary, params = finished('bbn', folder, '--config.epochs=12', '--config.optim.lr=0.05')
  own = [p for p in params if 'expert' in p or 'heads_' in p]
  assert {p.split('/')[2].split('_')[0] for p in own} == {'expert0', 'expert1', 'heads'}
  rows = [json.loads(x) for x in (folder / 'metrics.jsonl').read_text().splitlines()]
  assert all(np.isfinite(r['loss']) for r in rows) and rows[-1]['loss'] < rows[0]['loss']
  assert summary['last']['top1'] > 0.3


def taught(plain, folder):
  """A network anew that follows the teacher of the first stage, and not only the labels."""
  summary, params = finished('dive', folder)
  # as many epochs of the same loss by hand, from the same beginning, without a teacher
  alone, without = finished('balanced_softmax', folder / 'alone')
  first = runs.paths_of(checkpoint.variables(folder / 'stages' / 'first' / 'checkpoints')[0])
  assert not moved(first, without) and len(moved(first, params)) > 10
  rows = [json.loads(x) for x in (folder / 'metrics.jsonl').read_text().splitlines()]
  told = [r['terms']['distill'] for r in rows]
  assert told[0] > told[-1] > 0
  total = 0.5 * rows[-1]['terms']['natural'] + 0.5 * told[-1]
  assert rows[-1]['loss'] == pytest.approx(total, rel=1e-4)
  assert summary['last']['nll'] != alone['last']['nll'] and summary['last']['top1'] > 0.3


CHECKS = {
  'dive': taught,
  'crt': functools.partial(stage, 'crt', ('params/head/linear',)),
  'cb_head': functools.partial(stage, 'cb_head', ('params/head/linear',)),
  'lws': functools.partial(stage, 'lws', ('class_scale',)),
  'tau_norm': functools.partial(classifier, 'tau_norm'),
  'ncm': functools.partial(classifier, 'ncm'),
  'post_hoc': functools.partial(classifier, 'post_hoc'),
  'bbn': two_branches,
}


@pytest.mark.slow
@pytest.mark.parametrize('method', CHECKS)
def test_a_family_is_active(method, plain, tmp_path):
  CHECKS[method](plain, tmp_path)


@pytest.mark.parametrize(
  'methods',
  ['fass+bbn', 'mixup+bbn', 'cmo+bbn', 'cuda_plain+bbn', 'ride+crt', 'ride+lws', 'fass+crt',
   'cmo+cuda+fass+lws', 'mixup+balanced_softmax', 'cmo+logit_adjustment', 'fass+drs',
   'cuda+class_balanced', 'ldam+crt', 'fass+ncm', 'ride+tau_norm', 'cmo+fass+range',
   'balanced_softmax+crt'],
)  # fmt: skip
def test_families_combine(methods):
  """Builds every stage, or says why not."""
  from fass_jax import stages
  from fass_jax.recipe import build
  from fass_jax.types import UserError

  config = runs.config_of(f'--config=digits_lt.py:{methods}')
  try:
    for part in stages.split(config, pathlib.Path('w')):
      assert build(part.config, pieces.digits()).terms
  except UserError as error:
    assert methods == 'ride+tau_norm' and 'cosine' in str(error)
