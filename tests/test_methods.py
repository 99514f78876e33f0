"""Every method and every other reading of the thesis: its piece is active and changes the run."""

import functools
import itertools
import math
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.config import stages
from fass_jax.config.deltas import flatten, merge_deltas, methods
from fass_jax.data.load import load
from fass_jax.recipe.build import build
from fass_jax.types import Time, UserError
from tests import pieces, runs
from tests.test_families import CHECKS
from tests.test_rows import CONTROLS, THESIS

TABLES = __import__('runpy').run_path(str(runs.REPO / 'configs' / 'tables.py'))['TABLES']
READINGS = TABLES['digits_readings']['rows']
ALONE = sorted(methods().keys() - runs.NEEDS_RUN)  # the methods that need no earlier run


def config_for(method, overrides=()):
  """The digits, five epochs; a class of CUDA's rises even with a net as weak as the linear one."""
  sets = [f'--config.{k}={v}' for k, v in dict(overrides).items()]
  if 'cuda' in method:
    sets.append('--config.signals.levels.accept=0.2')
  return runs.config_of(f'--config=digits_lt.py:{method}', f'--config.epochs={EPOCHS}', *sets)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Trains each (method, overrides) once with the linear net, five epochs of digits."""
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


# class weights are deferred to the last fifth of a run, which fewer do not have
EPOCHS = 5


def different(a, b):
  return not np.array_equal(np.asarray(a[0].params['w']), np.asarray(b[0].params['w']))


def test_every_method_has_its_checks():
  assert pieces.ACTIVE.keys() | CHECKS.keys() == set(ALONE)
  assert not pieces.ACTIVE.keys() & CHECKS.keys()
  assert {'distill', 'ride_router'} == runs.NEEDS_RUN


@pytest.mark.parametrize('method', [*(m for m in ALONE if m not in (*THESIS, *CHECKS)), *CONTROLS])
def test_method_is_active_and_changes_the_run(trained, method):
  """The rows of the thesis are tested in test_rows.py, what needs more in test_families.py."""
  state, rows = trained(method)
  pieces.assert_active(pieces.Run(config_for(method), state, rows))
  pieces.assert_unlike_others('methods', method, state.params)
  losses = [[r['loss'] for r in x] for x in (rows, trained('ce')[1])]
  assert not np.allclose(losses[0], losses[1], rtol=1e-5)


# two have tests of their own below: the linear net has no batch statistics, and no late epochs
OWN_TEST = ('joint batch statistics', 'learning rate .001 at both drops')


@pytest.mark.parametrize(
  'label, method, overrides', [r for r in READINGS[1:] if r[0] not in OWN_TEST]
)
def test_reading_changes_the_run(trained, label, method, overrides):
  run, host = trained(method, overrides.items()), trained(method)
  assert different(run, host)


def test_learning_rate_reading_differs_after_the_second_drop():
  """The one reading that three epochs cannot show: .001 at both drops, or .00001 at the second."""
  ends = []
  for sets in ([], ['--config.optim.schedule=((0, 1.0), (0.8, 0.01), (0.9, 0.01))']):
    config = runs.config_of('--config.epochs=200', *sets)
    lr = build(config, load(config)).learning_rate
    ends.append([float(lr(Time(0, jnp.asarray(e), 0))) for e in (100, 170, 190)])
  np.testing.assert_allclose(ends, [[0.1, 1e-3, 1e-5], [0.1, 1e-3, 1e-3]], rtol=1e-5)


def test_joint_forward_shares_batch_statistics(tmp_path):
  shared, separate = (
    runs.in_memory(runs.config_of(*runs.SHORT, f'--config.forward={kind}'), tmp_path / kind)
    for kind in ('joint', 'separate')
  )
  assert shared[1][0]['loss'] == separate[1][0]['loss']  # the first epoch has one view
  assert abs(shared[1][1]['loss'] - separate[1][1]['loss']) > 1e-4


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

  seen, config = [], runs.config_of('--config.epochs=2')
  describe = score_matrix.__globals__['describe']

  def spy(old, new):
    seen.append(old.count)
    return describe(old, new)

  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    patch.setitem(score_matrix.__globals__, 'describe', spy)
    runs.in_memory(config, tmp_path)
  counts = np.bincount(load(config).train_labels)
  assert len(seen) == 2
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


def test_bernoulli_mixes_rho_on_average(trained):
  _, rows = trained('fass', {'streams.pair.gate': 'bernoulli'}.items())
  drawn = sum(r['mixed']['mixup']['drawn'] for r in rows)
  total = (EPOCHS - 1) * 6 * 64
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


@pytest.mark.parametrize('a, b', list(itertools.combinations(ALONE, 2)))
def test_every_pair_builds_or_is_refused_with_its_reason(a, b):
  try:
    config = runs.config_of(f'--config=digits_lt.py:{a}+{b}')
    for stage in stages.split(config, pathlib.Path('w')):
      recipe = build(stage.config, pieces.digits())
  except UserError as error:
    assert 'drop one' in str(error)
  else:
    assert recipe.views
    check_swallowed(a, b, config)


def keys_of(config):
  """Returns a config as {key: value}, but for its method string."""
  return {key: value for key, value in flatten(config).items() if key != 'method'}


@functools.cache
def keys_alone(name):
  return keys_of(runs.config_of(f'--config=digits_lt.py:{name}'))


def check_swallowed(a, b, config):
  """Where a pair is one of its two, the other is a part of that one and not another value."""
  for one, other in ((a, b), (b, a)):
    if keys_of(config) == keys_alone(one):
      assert methods()[other].items() <= methods()[one].items(), f'{one} swallows {other}'


def test_vector_score_gives_every_class_one_ranking(trained):
  state, _ = trained('fass', {'signals.score.form': 'vector'}.items())
  matrix = np.asarray(state.signals['score'].matrix)
  assert (matrix == matrix[0]).all()


def test_wo_fass_draws_other_classes_uniformly_and_lambda_from_beta(trained):
  _, rows = trained('random_mix')
  lam = [r['mixed']['mixup']['lam_all'] for r in rows[1:]]
  # mean of at least 240 draws of U(0, 1)
  assert abs(np.mean(lam) - 0.5) < 5 * math.sqrt(1 / 12 / 240)
