"""Runs of several stages: what a stage takes over, what it trains, and how it is continued."""

import json
import shutil

import jax
import numpy as np
import pytest

from fass_jax import main
from fass_jax.config import stages
from fass_jax.engine import step
from fass_jax.recipe import classifier, words
from fass_jax.recipe.build import build
from fass_jax.run import loop
from fass_jax.types import UserError
from fass_jax.workdir import checkpoint
from tests import pieces, runs


@pytest.fixture(scope='module', autouse=True)
def tiny():
  with pytest.MonkeyPatch.context() as patch:
    runs.use_tiny_net(patch)
    yield


SHORT = ['--config.epochs=10', '--config.eval.every=10', '--config.checkpoint.every_s=0']


def config_of(method, *args):
  return runs.config_of(f'--config=digits_lt.py:{method}', *SHORT, *args)


def network(folder):
  """Returns the parameters and statistics of a work directory as flat {path: array}."""
  flat = runs.paths_of(checkpoint.variables(folder / 'checkpoints')[0])
  return {k: np.asarray(v) for k, v in flat.items()}


def summary(folder):
  return json.loads((folder / 'summary.json').read_text())


def split(config, tmp_path):
  return stages.split(config, tmp_path)


def test_a_run_without_stages_is_itself(tmp_path):
  config = config_of('fass')
  assert split(config, tmp_path) == [('', config, tmp_path)]


def test_a_stage_is_plain_training_but_for_its_deltas(tmp_path):
  first, last = split(config_of('fass+crt', '--config.optim.lr=0.2'), tmp_path)
  assert (first.name, first.folder) == ('first', tmp_path / 'stages' / 'first')
  assert set(first.config.terms) == {'natural', 'fs'} and not first.config.stages
  assert (last.name, last.folder) == ('classifier', tmp_path)
  c = last.config
  assert (set(c.terms), set(c.streams), len(c.signals)) == ({'natural'}, {'natural'}, 0)
  assert c.streams.natural.sampler == 'class_balanced' and c.optim.only == ('head',)
  assert stages.folder_of(c.start.run, tmp_path) == str(first.folder)
  assert c.start.fresh == ('head',)
  assert (c.epochs, c.optim.lr, c.net.depth, c.method) == (1, 0.2, 8, 'crt+fass')


@pytest.mark.parametrize(('given', 'epochs'), [('0.3', 3), ('7', 7), ('0.01', 1)])
def test_epochs_of_a_stage_are_a_share_or_a_number(tmp_path, given, epochs):
  config = config_of('crt', f'--config.stages.classifier.epochs={given}')
  assert split(config, tmp_path)[1].config.epochs == epochs


@pytest.mark.parametrize('given', ['0', '-1', '-0.5'])
def test_a_stage_without_epochs_is_refused(tmp_path, given):
  config = config_of('crt', f'--config.stages.classifier.epochs={given}')
  with pytest.raises(UserError, match='stages.classifier.epochs=.* is not above 0'):
    split(config, tmp_path)


def test_the_folders_of_stages_are_seen_from_each_other(tmp_path):
  config = config_of('crt')
  with config.unlocked():
    config.stages.later = {'epochs': 1}
  first, middle, last = split(config, tmp_path)
  assert middle.folder == tmp_path / 'stages' / 'classifier' and last.folder == tmp_path
  for one, before in ((middle, first), (last, middle)):
    assert stages.folder_of(one.config.start.run, one.folder) == str(before.folder)
    assert str(tmp_path) not in one.config.start.run
  assert stages.folder_of('some/run', tmp_path) == 'some/run'


@pytest.mark.parametrize(
  'given', ["--config.start.fresh=('body',)", '--config.start.statistics=False']
)
def test_what_a_first_stage_takes_over_is_not_what_a_stage_does(tmp_path, given):
  with pytest.raises(UserError, match=r'of the stage it is --config.stages.classifier.start'):
    split(config_of('crt', given), tmp_path)


def test_every_key_of_a_stage_can_be_overridden(tmp_path):
  sets = ['--config.stages.classifier.optim.lr=0.03', '--config.stages.classifier.loss=focal']
  c = split(config_of('crt', *sets), tmp_path)[1].config
  assert (c.optim.lr, c.loss, c.optim.only) == (0.03, 'focal', ('head',))
  with pytest.raises(UserError, match=r"no config key 'stages.classifier.optim.lrr'.*optim.lr'"):
    config_of('crt', '--config.stages.classifier.optim.lrr=1')


def test_a_stage_of_a_run_that_is_given_begins_there(tmp_path):
  config = config_of('lws', '--config.start.run=elsewhere')
  (only,) = split(config, tmp_path)
  assert only.config.start.run == 'elsewhere' and only.folder == tmp_path


def test_a_stage_may_be_taught_by_the_one_before(tmp_path):
  first, student = split(config_of('dive'), tmp_path)
  assert (first.config.loss, first.config.teacher.run) == ('balanced_softmax', '')
  c = student.config
  # it begins anew, and all of it trains
  assert (c.start.run, c.optim.only) == ('', ())
  assert stages.folder_of(c.teacher.run, student.folder) == str(first.folder)
  assert {n: (t.loss, t.weight) for n, t in c.terms.items()} == {
    'natural': ('host', 0.5), 'distill': ('distillation', 0.5)}  # fmt: skip
  told = c.loss_args.distillation
  assert (c.loss, told.temperature, told.power, c.epochs) == ('balanced_softmax', 2.0, 0.5, 10)
  # what stands beside it trains the student too, which is what comes out
  first, student = split(config_of('dive+fass+cutout'), tmp_path)
  for stage in (first, student):
    assert stage.config.augment.cutout and stage.config.terms.fs.weight == 0.8
  assert set(student.config.terms) == {'natural', 'distill', 'fs'}
  assert set(first.config.terms) == {'natural', 'fs'}
  assert not student.config.stages and student.config.signals.score.kind == 'score_matrix'
  c = split(config_of('dive+fass', '--config.stages.student.streams.pair.rho=0.5'), tmp_path)
  assert [x.config.streams.pair.rho for x in c] == [0.3, 0.5]
  # and what follows is done to the student, not to its teacher
  parts = split(config_of('dive+crt'), tmp_path)
  assert [p.name for p in parts] == ['first', 'student', 'classifier']
  assert parts[-1].folder == tmp_path and parts[-1].config.optim.only == ('head',)
  assert stages.folder_of(parts[-1].config.start.run, tmp_path) == str(parts[1].folder)
  assert stages.folder_of(parts[1].config.teacher.run, parts[1].folder) == str(parts[0].folder)
  # a finished run teaches instead of a first stage
  (only,) = split(config_of('dive', '--config.start.run=elsewhere'), tmp_path)
  assert (only.config.teacher.run, only.config.start.run) == ('elsewhere', '')


def test_a_first_stage_that_is_given_is_not_what_the_methods_say(tmp_path, caplog):
  split(config_of('balanced_softmax+crt', '--config.start.run=elsewhere'), tmp_path)
  assert 'first stage is the finished run elsewhere' in caplog.text and '(loss)' in caplog.text
  caplog.clear()
  split(config_of('crt', '--config.start.run=elsewhere'), tmp_path)
  split(config_of('balanced_softmax+crt'), tmp_path)
  assert not caplog.records


def test_a_stage_after_a_part_alone_is_refused(tmp_path):
  config = config_of('ride_router+crt', '--config.start.run=elsewhere')
  with pytest.raises(UserError, match=r"in 'crt\+ride_router' a stage follows"):
    split(config, tmp_path)


def test_ncm_of_a_head_that_was_trained_again_is_said(tmp_path, caplog):
  stage = split(config_of('crt+ncm'), tmp_path)[1].config
  classifier.chosen(stage, pieces.digits())
  assert 'ncm reads the features alone' in caplog.text
  caplog.clear()
  classifier.chosen(config_of('ncm'), pieces.digits())
  assert not caplog.records


def test_two_classifier_stages_clash_by_name():
  with pytest.raises(UserError, match=r"'crt' and 'lws' cannot be combined"):
    config_of('crt+lws')


def test_the_recipe_names_every_stage(capsys):
  assert main.main(['--config=digits_lt.py:crt', '--recipe']) == 0
  said = capsys.readouterr().out
  assert said.index('stage first') < said.index('stage classifier') < said.index('trains')
  assert 'begins anew' in said and 'no decay' not in said
  said = words.resolve(config_of('drs'))
  assert 'sampler power n^q, q 1, from epoch 9 on 0' in said and 'begins anew' not in said


def test_a_later_stage_that_cannot_run_is_refused_before_the_first(tmp_path):
  config = config_of('crt', "--config.stages.classifier.optim.only=('nothing',)")
  with pytest.raises(UserError, match="Stage classifier: .*names 'nothing'"):
    loop.run(config, tmp_path)
  assert not (tmp_path / 'stages').exists()


@pytest.fixture(scope='module')
def done(tmp_path_factory):
  """A run of cRT, finished."""
  path = tmp_path_factory.mktemp('crt')
  loop.run(config_of('crt'), path)
  return path


def test_a_run_of_stages_can_be_moved(done, tmp_path):
  shutil.copytree(done, tmp_path / 'moved')
  again = loop.run(config_of('crt'), tmp_path / 'moved')
  assert again['last'] == summary(done)['last']
  before = (done / 'checkpoints').iterdir(), (tmp_path / 'moved' / 'checkpoints').iterdir()
  assert len({frozenset(p.name for p in names) for names in before}) == 1  # nothing was trained


def test_another_config_is_refused_before_its_first_stage_trains(done, tmp_path):
  shutil.copytree(done, tmp_path / 'run')
  shutil.rmtree(tmp_path / 'run' / 'stages')
  with pytest.raises(UserError, match=r'run of another config: optim.lr \(0.1 -> 0.2\)'):
    loop.run(config_of('crt', '--config.optim.lr=0.2'), tmp_path / 'run')
  assert not (tmp_path / 'run' / 'stages').exists()


def test_a_frozen_part_is_never_as_it_is_initialised(done, tmp_path):
  """A deeper network has blocks that the first stage, or the run that is given, does not have."""
  sets = f'--config.start.run={done / "stages" / "first"}', '--config.net.depth=14'
  for config in (config_of('crt', *sets), config_of('lws', *sets)):
    with pytest.raises(UserError, match=r'does not provide body/.*block1.*, which is frozen here'):
      loop.run(config, tmp_path / config.method)


def test_crt_trains_the_head_alone_and_anew(done):
  before, after = network(done / 'stages' / 'first'), network(done)
  # two layers of a convolution, its scale and shift, and a head; the statistics
  assert before.keys() == after.keys() and len(after) == 6 + 2 + 4
  for path in after:
    same = np.array_equal(before[path], after[path])
    assert same != path.startswith('params/head'), path
  # one epoch away from its first values, not from those of the first stage
  config = config_of('ce')
  drawn = step.draw_variables(build(config, pieces.digits()), jax.random.key(0), (8, 8, 3))
  first = np.asarray(drawn['params']['head']['linear']['kernel'])
  old, new = (x['params/head/linear/kernel'] - first for x in (before, after))
  assert 0 < np.linalg.norm(new) < 0.7 * np.linalg.norm(old)
  assert [summary(x)['epochs'] for x in (done / 'stages' / 'first', done)] == [10, 1]
  assert summary(done)['wall_s'] > summary(done / 'stages' / 'first')['wall_s']


def test_lws_trains_the_scales_alone_and_statistics_may_drift(done, tmp_path):
  sets = [f'--config.start.run={done / "stages" / "first"}']
  drift = '--config.stages.classifier.optim.frozen_statistics=drift'
  for name, more in (('keep', []), ('drift', [drift])):
    loop.run(config_of('lws', *sets, *more), tmp_path / name)
  before = network(done / 'stages' / 'first')
  kept, drifted = network(tmp_path / 'keep'), network(tmp_path / 'drift')
  scale = kept.pop('params/head/class_scale')
  assert scale.shape == (10,) and np.abs(scale - 1).max() > 1e-3
  assert (drifted['params/head/class_scale'] != 1).any()
  for path, value in kept.items():
    np.testing.assert_array_equal(value, before[path], err_msg=path)
    if path.startswith('batch_stats'):
      assert (drifted[path] != value).any()


def test_a_staged_run_that_is_stopped_in_either_stage_ends_the_same(done, tmp_path):
  steps = []

  def stop_at(n):
    def stop():
      steps.append(1)
      return 'enough' if len(steps) == n else ''

    return stop

  for n in (25, 40):  # in the middle of the first stage, and at the end of the second
    steps.clear()
    try:
      loop.run(config_of('crt'), tmp_path, stop_at(n))
    except loop.Stopped:
      continue
  loop.run(config_of('crt'), tmp_path)
  # the folder of the first stage is part of the second's config and of nothing else
  a, b = (runs.saved(x) for x in (done, tmp_path))
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)
