"""Regression through the whole program: every method and pair, training, prediction, evaluation."""

import csv
import functools
import itertools
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import evaluate, main, predict
from fass_jax.config import stages
from fass_jax.data.load import load
from fass_jax.data.numbers import scale_of
from fass_jax.engine.step import active_views, train_step
from fass_jax.recipe.build import build
from fass_jax.regression import fds_smooth, kernel_window, lds_weights
from fass_jax.types import Context, Examples, Outputs, Targets, Time, UserError
from tests import bench, runs
from tests.by_hand import variables, with_signals

METHODS = sorted(runs.OF_NUMBERS)
SMALL = ['--config.net.hidden=(16,)', '--config.epochs=4', '--config.checkpoint.every_s=0']


def config_of(method, *more):
  return runs.config_of(f'--config=diabetes.py:{method}', *SMALL, *more)


@functools.cache
def diabetes():
  return load(config_of('l1'))


def bench_of(method, *more):
  return bench.Bench(config=config_of(method, *more), data=diabetes(), net='real', shared=True)


def call(capsys, command, *words):
  code = command.main([*map(str, words)])
  out, err = capsys.readouterr()
  assert 'Traceback' not in err
  return code, out, err


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """The work directory of a run of LDS and FDS."""
  folder = tmp_path_factory.mktemp('regression') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    runs.compile_quickly(patch, 0)
    words = ['--config=diabetes.py:lds+fds', *SMALL, '--config.epochs=30', f'--workdir={folder}']
    assert main.main(words) == 0
  return folder


# every method and pair


def shapes(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize('names', [*METHODS, *itertools.combinations(METHODS, 2)], ids=str)
def test_methods_alone_and_in_pairs_are_traced_or_refused_with_their_reason(names):
  names = (names,) if isinstance(names, str) else names
  try:
    config = config_of('+'.join(names))
    for part in stages.split(config, pathlib.Path('w')):
      b = bench.Bench(config=part.config, data=diabetes(), net='real', shared=True)
      before, after = b.traced()
      assert shapes(after) == shapes(before)
  except UserError as error:
    assert len(names) == 2 and 'drop one' in str(error)


def test_those_that_belong_together_are_not_refused():
  for names in ('lds+fds', 'sqinv+fds', 'focal_r+lds', 'focal_r+fds', 'rrt+fds', 'fds+balanced_mse',
                'inverse_labels+fds', 'rrt+lds'):  # fmt: skip
    for part in stages.split(config_of(names), pathlib.Path('w')):
      assert build(part.config, diabetes()).task.values is not None


# each piece is active


def step_of(method, *more, on=True):
  """Returns a step with FDS' statistics of a run that has come far: the tally and the gradient."""
  b = bench_of(method, *more)
  shape = diabetes().image_shape
  state = b.state()._replace(params=variables(b.recipe.net, 2, shape)['params'])
  state = state._replace(signals=with_signals(state.signals) if on else state.signals)
  new = train_step(b.recipe, active_views(b.recipe, 1, {}), state, b.store, b.plan(state))
  return b, state, new


def loss_of(method, *more, **how):
  return float(step_of(method, *more, **how)[2].tally['loss'])


def test_weights_are_those_of_the_formula():
  data = diabetes()
  classes = bench_of('l1').store.classes
  labels = jnp.asarray(data.train_labels)
  targets = Targets(labels, labels, jnp.ones(len(labels)), jnp.asarray(data.train_values))
  examples = Examples(labels, targets, jnp.ones(len(labels), bool))
  outs = Outputs(jnp.zeros((len(labels), 1, 1)), jnp.zeros((len(labels), 1)))
  time = Time(jnp.int32(0), jnp.int32(0), jnp.float32(0))
  want = {
    'sqinv': lds_weights(labels, 13, None, 5, 2, 'sqrt_inv', 'code'),
    'inverse_labels': lds_weights(labels, 13, None, 5, 2, 'inverse', 'code'),
    'lds': lds_weights(labels, 13, 'gaussian', 5, 2, 'sqrt_inv', 'code'),
  }
  for method, weights in want.items():
    (loss,) = bench_of(method).recipe.terms['natural'].losses
    values, got = loss(outs, examples, Context(classes, {}, time))
    np.testing.assert_allclose(got, weights, rtol=1e-6)
    # in standard deviations of the labels, around their mean
    y = data.train_values.astype(float)
    np.testing.assert_allclose(values, np.abs(y - y.mean()) / y.std(), rtol=1e-4, atol=1e-6)
  config = config_of('lds', '--config.reweight.order=paper', '--config.reweight.mode=inverse')
  (loss,) = build(config, data).terms['natural'].losses
  got = loss(outs, examples, Context(classes, {}, time))[1]
  paper = lds_weights(labels, 13, 'gaussian', 5, 2, 'inverse', 'paper')
  np.testing.assert_allclose(got, paper, rtol=1e-6)


def test_every_loss_and_weight_changes_the_step():
  found = {m: loss_of(m) for m in METHODS if m not in ('l1', 'rrt')}
  plain = loss_of('l1')
  assert all(abs(value - plain) > 1e-3 * plain for value in found.values()), found
  assert len({round(v, 5) for v in found.values()}) == len(found)


def test_fds_changes_the_features_of_training_alone():
  b, state, new = step_of('fds')
  s = state.signals['fds'].statistics
  z = jax.random.normal(jax.random.key(0), (7, 16))
  labels = jnp.arange(7)
  targets = Targets(labels, labels, jnp.ones(7))
  got = b.recipe.signals['fds'].between(state.signals['fds'], z, targets, None)
  window = kernel_window('gaussian', 5, 2)
  want = fds_smooth(s, z, labels, window=window, clip=(0.1, 10.0), order='code')
  np.testing.assert_allclose(got, want, rtol=1e-6)
  assert np.abs(got - z).max() > 0.1
  # without statistics there is no effect
  assert loss_of('fds', on=False) == loss_of('l1')
  assert loss_of('fds') != loss_of('l1')


@pytest.mark.parametrize('source', ['pass', 'running'])
def test_the_statistics_are_of_features_before_they_are_smoothed(source, tmp_path):
  """After a run whose rate is 0 they are those of the first network, in spite of FDS."""
  more = [
    '--config.optim.lr=0.0',
    f'--config.signals.fds.source={source}',
    '--config.data.held_out=0',
  ]
  with pytest.MonkeyPatch.context() as patch:
    runs.compile_quickly(patch, 0)
    state, rows = runs.in_memory(config_of('fds', *more), tmp_path)
  s = state.signals['fds'].statistics
  assert int(s.updates) == 4 and rows[-1]['signals']['fds']['bins_filled'] >= 12
  counts = load(config_of('fds', *more)).counts
  np.testing.assert_array_equal(s.tracked, 4 * counts)
  filled = counts > 0
  assert not np.asarray(s.mean)[~filled].any() and (np.asarray(s.var)[~filled] == 1).all()
  if source == 'running':
    # whole batches are normalised, so the mean over the set stays that of relu(N(0, 1)), .4
    mean = (np.asarray(s.mean) * counts[:, None]).sum(0) / counts.sum()
    assert abs(mean.mean() - 0.4) < 0.05


def test_the_noise_is_learned_or_fixed():
  _, state, new = step_of('balanced_mse')
  assert new.params['head']['noise'] != state.params['head']['noise']
  _, state, new = step_of('balanced_mse', '--config.loss_args.balanced_mse.rate=0.0')
  assert new.params['head']['noise'] == state.params['head']['noise']
  with pytest.raises(UserError, match='net.head=linear_noise'):
    build(config_of('l1', '--config.loss=balanced_mse'), diabetes())


def test_the_second_stage_trains_the_head_alone():
  first, second = stages.split(config_of('rrt'), pathlib.Path('w'))
  c = second.config
  assert (c.optim.only, c.start.fresh, c.loss) == (('head',), ('head',), 'l1')
  assert (c.reweight.kind, c.reweight.mode, c.reweight.kernel) == ('density', 'sqrt_inv', 'none')
  assert first.config.reweight.kind == 'none' and c.task == 'regression'


# a whole run


def test_a_run_learns_and_its_figures_are_in_the_unit_of_the_label(finished):
  summary = json.loads((finished / 'summary.json').read_text())
  rows = runs.records(finished)
  data = diabetes()
  y, mean = data.test_values, data.train_values.mean()
  plain = np.abs(y - mean).mean()
  best = min(r['test']['mae'] for r in rows)
  assert summary['best']['mae'] == best < 0.9 * plain
  assert rows[-1]['train_mae'] < rows[0]['train_mae'] and 'train_top1' not in rows[0]
  last = summary['last']
  assert last['rmse'] == pytest.approx(last['mse'] ** 0.5) and last['gm'] < last['mae']
  assert last['count'] == sum(last[f'{g}_count'] for g in ('many', 'medium', 'few')) == len(y)
  weighed = [last[f'{g}_mae'] * last[f'{g}_count'] for g in ('many', 'medium', 'few')]
  assert sum(weighed) / len(y) == pytest.approx(last['mae'])
  for name in ('error_and_density', 'learning_curves', 'predictions'):
    assert (finished / f'{name}.png').stat().st_size > 5000
  assert rows[-1]['signals']['fds']['mean_moved'] > 0


def test_evaluation_and_prediction_answer_as_training_did(finished, capsys, tmp_path):
  last = json.loads((finished / 'summary.json').read_text())['last']
  code, out, err = call(capsys, evaluate, f'--workdir={finished}')
  assert code == 0, err
  found = json.loads((finished / 'evaluation-regression.json').read_text())
  assert found['metrics']['mae'] == pytest.approx(last['mae'], rel=1e-5)
  assert 'MAE' in out and 'few' in out and '1e-06' in out
  data = diabetes()
  with open(tmp_path / 'new.csv', 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow([c.name for c in data.columns])
    writer.writerows([map(repr, row) for row in data.test_images.tolist()])
  code, out, err = call(capsys, predict, f'--workdir={finished}', '--csv=-', tmp_path / 'new.csv')
  assert code == 0, err
  values = [float(r['value']) for r in csv.DictReader(out.splitlines())]
  assert np.abs(np.array(values) - data.test_values).mean() == pytest.approx(last['mae'], rel=1e-4)
  code, out, _ = call(capsys, predict, f'--workdir={finished}', tmp_path / 'new.csv')
  assert code == 0 and len(out.splitlines()) == len(values) and '%' not in out


@pytest.mark.parametrize(
  'command, flag',
  [
    (predict, '--prior=uniform'),
    (predict, '--top=2'),
    (evaluate, '--classifier=ncm'),
    (evaluate, '--shifts'),
    (evaluate, '--calibrate'),
  ],
)
def test_flags_about_classes_are_refused(finished, capsys, command, flag):
  files = ['a.csv'] if command is predict else []
  code, _, err = call(capsys, command, f'--workdir={finished}', flag, *files)
  assert code == 1 and 'is about classes, but this run predicts numbers' in err


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path):
  words = ['--config=diabetes.py:lds+fds', *SMALL]
  with pytest.MonkeyPatch.context() as patch:
    runs.draw_nothing(patch)
    runs.compile_quickly(patch, 0)
    from fass_jax.run import loop

    loop.run(runs.config_of(*words), tmp_path / 'whole')
    asked = iter(range(1000))
    with pytest.raises(loop.Stopped):
      loop.run(runs.config_of(*words), tmp_path / 'cut', lambda: 'x' * (next(asked) == 12))
    loop.run(runs.config_of(*words), tmp_path / 'cut')
  runs.assert_same_run(tmp_path / 'whole', tmp_path / 'cut')


def test_several_seeds_in_a_table(capsys, tmp_path):
  words = ['--config=diabetes.py:balanced_mse', *SMALL, '--config.seeds=2']
  with pytest.MonkeyPatch.context() as patch:
    runs.draw_nothing(patch)
    runs.compile_quickly(patch, 0)
    code, _, err = call(capsys, main, *words, f'--workdir={tmp_path / "w"}')
  assert code == 0 and '2 seeds: mean ± sd' in err, err
  summary = json.loads((tmp_path / 'w' / 'summary.json').read_text())
  assert summary['last']['mae']['sd'] > 0 and summary['last']['few_mae']['mean'] > 0


# refusals


@pytest.mark.parametrize(
  'words, said',
  [
    (['--config=diabetes.py:fass'], r"The method 'fass' is for classification.*methods of regr"),
    (['--config=diabetes.py:ldam+fds'], r"The method 'ldam' is for classification"),
    (['--config=digits_lt.py:lds'], r"The method 'lds' is for regression, but this run is a"),
    (['--config=digits_lt.py:ce', '--config.loss=l1'], r"The loss 'l1' is for regression"),
    (['--config=digits_lt.py:ce', '--config.task=regression'], r'labels of digits_lt are classes'),
    (['--config=diabetes.py:l1', '--config.task=classification'], 'labels of diabetes are numbers'),
    (['--config=diabetes.py:l1', '--config.loss=ce'], "The loss 'ce' is for classification"),
    (['--config=diabetes.py:l1', '--config.classifier=ncm'], "The classifier 'ncm'"),
    (['--config=diabetes.py:l1', '--config.reweight.kind=inverse'], 'reweight.kind=inverse is for'),
    (['--config=diabetes.py:lds', '--config.reweight.size=4'], 'size=4 is even'),
    (['--config=diabetes.py:fds', '--config.signals.fds.clip=(2.0, 1.0)'], 'the lower one first'),
  ],
)  # fmt: skip
def test_what_belongs_to_another_task_is_refused_in_a_sentence(words, said, capsys):
  code, _, err = call(capsys, main, *words, '--recipe')
  assert code == 1 and err.count('\n') <= 2
  assert re.search(said, err), err


def test_scale_is_that_of_the_training_values():
  data = diabetes()
  mean, spread = scale_of(data)
  assert mean == pytest.approx(data.train_values.mean(), rel=1e-5)
  assert spread == pytest.approx(data.train_values.std(), rel=1e-5)
  assert scale_of(bench.digits()) is None
