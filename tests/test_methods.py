"""Every method and every other reading of the thesis: its piece is active and changes the run."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.config.deltas import merge_deltas, methods
from fass_jax.data.load import load
from fass_jax.recipe.build import build
from fass_jax.types import Time, UserError
from tests import bench, pieces, runs
from tests.test_families import CHECKS
from tests.test_pairs import ALONE
from tests.test_rows import CONTROLS

TABLES = __import__('runpy').run_path(str(runs.REPO / 'configs' / 'tables.py'))['TABLES']
READINGS = TABLES['digits_readings']['rows']
# class weights are deferred to the last fifth of a run, which fewer do not have
EPOCHS = 5


def config_for(method, overrides=()):
  """The digits, five epochs."""
  sets = [f'--config.{k}={v}' for k, v in dict(overrides).items()]
  return runs.config_of(f'--config=digits_lt.py:{method}', f'--config.epochs={EPOCHS}', *sets)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Trains each (method, overrides) once with the linear net and a real session."""
  known = {}

  def get(method, overrides=()):
    key = (method, tuple(sorted(dict(overrides).items())))
    if key not in known:
      config = config_for(method, key[1])
      with pytest.MonkeyPatch.context() as patch:
        runs.use_linear_net(patch)
        known[key] = runs.in_memory(config, tmp_path_factory.mktemp('run'))
    return known[key]

  return get


# methods whose activity a file of their own shows
ELSEWHERE = {
  **dict.fromkeys(('smote', 'borderline_smote'), 'test_examples.py'),
  **dict.fromkeys(
    ('l1', 'sqinv', 'inverse_labels', 'lds', 'fds', 'focal_r', 'rrt', 'balanced_mse'),
    'test_regression_run.py',
  ),
}


def test_every_method_has_its_checks():
  assert pieces.ACTIVE.keys() | CHECKS.keys() | ELSEWHERE.keys() >= set(ALONE)
  for name, file in ELSEWHERE.items():
    assert name in (runs.REPO / 'tests' / file).read_text() and name not in pieces.ACTIVE
  assert not pieces.ACTIVE.keys() & CHECKS.keys()
  assert {'distill', 'ride_router'} == runs.NEEDS_RUN


@pytest.mark.parametrize('method', CONTROLS)
def test_a_control_is_active_and_changes_the_run(method):
  """Each method alone is tested in test_golden.py, the rows of the thesis in test_rows.py."""
  run = bench.late(method)
  pieces.assert_active(run)
  losses = [[r['loss'] for r in x.rows] for x in (run, bench.late('ce'))]
  assert not np.allclose(losses[0], losses[1], rtol=1e-5)


# one method of each slot that test_rows.py does not train: class weights and a signal of
# augmentation, a sampler and a mix, a loss and a partner
@pytest.mark.parametrize('method', ['drw+doda', 'ens+mixup', 'balanced_softmax+cmo'])
def test_a_method_of_each_slot_is_active_in_a_whole_run(trained, method):
  state, rows = trained(method)
  config = config_for(method)
  recipe = build(config, pieces.digits())
  began = {name: signal.init(10) for name, signal in recipe.signals.items()}
  pieces.assert_active(bench.Run(config, recipe, began, state, rows))
  assert int(state.step) == EPOCHS * recipe.steps_per_epoch


# no step shows that one: it has a test of its own below
OWN_TEST = 'learning rate .001 at both drops'


def early(method, overrides=()):
  """The end of the first epoch, in which FASS has no scores, and two steps of the second."""
  return bench.steps_of(method, 0, tuple(sorted(dict(overrides).items())))


@pytest.mark.parametrize('label, method, overrides', [r for r in READINGS[1:] if r[0] != OWN_TEST])
def test_reading_changes_the_run(label, method, overrides):
  run, host = early(method, overrides), early(method)
  a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(r.state.params)])
          for r in (run, host))  # fmt: skip
  assert np.abs(a - b).max() > 1e-6


def test_learning_rate_reading_differs_after_the_second_drop():
  """The one reading that three epochs cannot show: .001 at both drops, or .00001 at the second."""
  ends = []
  for sets in ([], ['--config.optim.schedule=((0, 1.0), (0.8, 0.01), (0.9, 0.01))']):
    config = runs.config_of('--config.epochs=200', *sets)
    lr = build(config, load(config)).learning_rate
    ends.append([float(lr(Time(0, jnp.asarray(e), 0))) for e in (100, 170, 190)])
  np.testing.assert_allclose(ends, [[0.1, 1e-3, 1e-5], [0.1, 1e-3, 1e-3]], rtol=1e-5)


def test_joint_forward_shares_batch_statistics():
  shared, separate = (early('fass', {'forward': kind}).rows for kind in ('joint', 'separate'))
  assert shared[0]['loss'] == separate[0]['loss']  # the first epoch has one view
  assert abs(shared[1]['loss'] - separate[1]['loss']) > 1e-4


def test_fass_is_off_in_the_first_epoch_and_then_mixes_a_third(trained):
  state, rows = trained('fass')
  for view in ('mixup', 'cutmix'):
    assert rows[0]['mixed'][view]['drawn'] == 0
    # ceil(.3 * 64) = 20 pairs in each of 6 steps
    assert rows[1]['mixed'][view]['drawn'] == 120
  assert rows[0]['terms']['fs'] is None and rows[1]['terms']['fs'] > 0
  expected = rows[1]['terms']['natural'] + 0.8 * rows[1]['terms']['fs']
  assert rows[1]['loss'] == pytest.approx(expected, rel=1e-5)
  matrix = np.asarray(state.signals['score'].matrix)
  np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-5)
  assert (np.asarray(state.signals['score'].sums) == 0).all()


def test_every_image_feeds_the_score_once_an_epoch(tmp_path):
  """S of the epoch is the mean over exactly the training images, the fillers left out."""
  from fass_jax.signals import score_matrix

  seen, config = [], config_for('fass')
  describe = score_matrix.__globals__['describe']

  def spy(old, new):
    seen.append(old.count)
    return describe(old, new)

  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    patch.setitem(score_matrix.__globals__, 'describe', spy)
    runs.in_memory(config, tmp_path)
  counts = np.bincount(load(config).train_labels)
  assert len(seen) == EPOCHS
  for got in seen:
    np.testing.assert_array_equal(got, counts)


def test_one_rebalanced_stream_mixes_the_natural_batch(tmp_path):
  """x_b = x_i: the pair stream copies the head of the natural batch."""
  sets = ['--config.streams.natural.sampler=effective_number',
          '--config.streams.pair.sampler=natural']  # fmt: skip
  config = runs.config_of('--config.epochs=2', *sets)
  recipe = build(config, load(config))
  assert recipe.streams['pair'].sampler.scope == 'copy' and recipe.streams['pair'].size == 20


def test_coin_switches_whole_steps(trained):
  _, rows = trained('fass', {'streams.pair.gate': 'coin'}.items())
  drawn = [r['mixed']['mixup']['drawn'] for r in rows]
  assert (
    drawn[0] == 0 and all(d % 64 == 0 for d in drawn) and 0 < sum(drawn) < (EPOCHS - 1) * 6 * 64
  )


def test_bernoulli_mixes_rho_on_average():
  run = bench.steps_of('fass', 0, (('streams.pair.gate', 'bernoulli'),), 7)
  drawn = sum(r['mixed']['mixup']['drawn'] for r in run.rows)
  total = 6 * 64
  assert abs(drawn - 0.3 * total) < 5 * math.sqrt(total * 0.3 * 0.7)


def test_deltas_commute_and_clash_by_name():
  table = methods()
  assert merge_deltas('fass+ens', table) == merge_deltas('ens+fass', table)
  with pytest.raises(UserError, match=r"'cutmix' and 'mixup'.*views.natural.mix"):
    merge_deltas('mixup+cutmix', table)
  # values that are a default, too
  clashes = {
    'cb+drw': 'reweight.share',
    'drw_inverse+inverse': 'reweight.share',
    'inverse+inverse_sqrt': 'reweight.power',
    'ens+cb_resample': 'streams.natural.beta',
  }
  for pair, key in clashes.items():
    with pytest.raises(UserError, match=f'cannot be combined.*{key}'):
      merge_deltas(pair, table)


def test_vector_score_gives_every_class_one_ranking():
  matrix = np.asarray(early('fass', {'signals.score.form': 'vector'}).state.signals['score'].matrix)
  assert (matrix == matrix[0]).all() and np.ptp(matrix[0]) > 0


def test_wo_fass_draws_other_classes_uniformly_and_lambda_from_beta():
  run = bench.steps_of('random_mix', 0, (('streams.pair.rho', 1.0),), 5)
  lam = [r['mixed']['mixup']['lam_all'] for r in run.rows[1:]]
  # mean of 256 draws of U(0, 1)
  assert abs(np.mean(lam) - 0.5) < 5 * math.sqrt(1 / 12 / 256)
