"""The loop around the programs: no fetch and no compilation in an epoch, several seeds at once."""

import json
import logging
import math
import pathlib
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tqdm import tqdm

from fass_jax.engine import compiler, programs
from fass_jax.report import tables
from fass_jax.run import loop as train
from fass_jax.run import resume, seeds, session
from fass_jax.types import UserError
from tests import meters, runs

QUICK = runs.SHORT


@pytest.fixture
def linear(monkeypatch):
  runs.use_linear_net(monkeypatch)


class Loop:
  """The real session, epoch by epoch."""

  def __init__(self, path, *args):
    self.s = session.open_session(runs.config_of(*QUICK, *args), path, lambda: '')
    self.seed_runs = resume.begin(self.s)
    seeds.compile_ahead(self.s, self.seed_runs, 0)

  def train(self, epoch):
    self.seed_runs = train.train_epoch(self.s, self.seed_runs, epoch, 0, tqdm(disable=True))

  def end(self, epoch):
    self.seed_runs = train.end_epoch(self.s, self.seed_runs, epoch, 1.0)


WAYS = {
  'steps': [],
  'chunks': ['--config.engine.chunk=3'],
  'coins': ['--config.streams.pair.gate=coin'],
  'coins in chunks': ['--config.streams.pair.gate=coin', '--config.engine.chunk=6'],
  'seeds in turns': ['--config.seeds=2'],
  'seeds in one program': ['--config.seeds=2', '--config.engine.together=batched'],
  'joint': ['--config.forward=joint'],
  'random partners': ['--config=digits_lt.py:random_mix'],
}


@pytest.mark.parametrize('way', sorted(WAYS))
def test_an_epoch_fetches_nothing_and_compiles_nothing(linear, tmp_path, monkeypatch, way):
  compiled = []
  compile_program = programs.compile_program

  def spy(recipe, key, *args):
    compiled.append(key)
    return compile_program(recipe, key, *args)

  monkeypatch.setattr(programs, 'compile_program', spy)
  loop = Loop(tmp_path, *WAYS[way])
  assert compiled and len(set(compiled)) == len(compiled)
  once = list(compiled)
  for epoch in range(3):
    with meters.counted(monkeypatch) as counts:
      loop.train(epoch)
    assert counts.fetches == [] and counts.compiles == []
    with meters.counted(monkeypatch) as counts, jax.transfer_guard_host_to_device('allow'):
      loop.end(epoch)
    # the first epoch's end compiles the small things of the records
    assert counts.fetches and (epoch == 0 or counts.compiles == [])
  assert compiled == once
  loop.s.manager.close()


FETCHES = {
  'float': lambda x: float(x.sum()),
  'asarray': lambda x: np.asarray(x),
  'item': lambda x: x.sum().item(),
  'device_get': lambda x: jax.device_get(x),
  'if': lambda x: 1 if x.sum() else 0,
}


@pytest.fixture(scope='module')
def warm(tmp_path_factory):
  """A session whose first epoch, of plain training, has run once."""
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    loop = Loop(tmp_path_factory.mktemp('warm'), '--config=digits_lt.py:ce')
    loop.train(0)
    yield loop
    loop.s.manager.close()


@pytest.fixture
def planted(warm, monkeypatch):
  """Trains the epoch with something planted that is called between its steps."""
  s = warm.s

  def train_with(plant):
    warm.s = s._replace(stop=lambda step: (plant(s.store.labels), '')[1])
    with meters.counted(monkeypatch) as counts:
      warm.train(0)
    return counts

  yield train_with
  warm.s = s


@pytest.mark.parametrize('plant', sorted(FETCHES))
def test_a_planted_fetch_is_caught(planted, plant):
  planted(FETCHES[plant])  # the plant compiles its own sums
  assert len(planted(FETCHES[plant]).fetches) >= 6  # one a step


def test_a_planted_compilation_is_caught(planted):
  assert planted(lambda labels: None).compiles == []
  assert len(planted(lambda labels: jax.jit(lambda x: x + 1)(labels)).compiles) >= 6


def test_a_planted_transfer_to_the_device_is_caught(linear, tmp_path, monkeypatch):
  loop = Loop(tmp_path, '--config=digits_lt.py:ce')
  loop.s = loop.s._replace(stop=lambda step: jnp.asarray(np.ones(3)).size < 0 or '')
  with (
    meters.counted(monkeypatch),
    pytest.raises(Exception, match='Disallowed host-to-device'),
  ):
    loop.train(0)
  loop.s.manager.close()


def test_chunks_train_as_steps_do(linear, tmp_path):
  one, rows = runs.in_memory(runs.config_of(*QUICK), tmp_path / 'one')
  config = runs.config_of(*QUICK, '--config.engine.chunk=3')
  three, others = runs.in_memory(config, tmp_path / 'three')
  np.testing.assert_allclose(one.params['w'], three.params['w'], atol=1e-5)
  drawn = [[r['mixed']['cutmix']['drawn'] for r in part] for part in (rows, others)]
  assert drawn[0] == drawn[1] == [0, 120, 120, 120, 120]


# several seeds


def single_and_group(path, *args):
  """Trains seeds 1 and 2 alone and as a group of two; returns the folders."""
  for seed in (1, 2):
    train.run(runs.config_of(*QUICK, *args, f'--config.seed={seed}'), path / f'single{seed}')
  group = [*QUICK, *args, '--config.seed=1', '--config.seeds=2']
  return group, train.run(runs.config_of(*group), path / 'group')


def test_seeds_in_turns_are_the_single_runs_bit_for_bit(linear, tmp_path):
  _, summary = single_and_group(tmp_path)
  arrays = runs.saved(tmp_path / 'group')
  for i, seed in enumerate((1, 2)):
    alone = runs.saved(tmp_path / f'single{seed}')
    assert len(alone) > 10
    for name, value in alone.items():
      mine = name.replace('[0]', f'[{i}]', 1)
      np.testing.assert_array_equal(arrays[mine], value, err_msg=mine)
    assert runs.records(tmp_path / 'group' / f'seed{seed}') == runs.records(
      tmp_path / f'single{seed}'
    )
  assert summary['seeds'] == [1, 2]
  top1 = [r['last']['top1'] for r in summary['runs']]
  assert top1[0] != top1[1]
  assert summary['last']['top1']['mean'] == pytest.approx(sum(top1) / 2)
  assert summary['last']['top1']['sd'] == pytest.approx(abs(top1[0] - top1[1]) / math.sqrt(2))


def test_seeds_of_a_set_without_few_shot_classes(linear, tmp_path, caplog):
  """114 to 76 images a class: none is few-shot, and that is no figure."""
  config = runs.config_of(*QUICK, '--config.seeds=2', '--config.imb_factor=1.5')
  logging.getLogger('fass_jax').propagate = True
  caplog.set_level(logging.INFO, 'fass_jax')
  summary = train.run(config, tmp_path)
  for part in ('last', 'best'):
    assert all(v is None for v in summary[part]['few'].values())
    assert summary[part]['medium']['mean'] > 0.2
  (row,) = [x for x in caplog.text.splitlines() if x.startswith('few-shot')]
  assert row.split() == ['few-shot', '-', '-']
  assert json.loads((tmp_path / 'summary.json').read_text())['last']['few']['mean'] is None


def test_batched_seeds_resume_bit_equal(linear, tmp_path):
  group = [*QUICK, '--config.seeds=2', '--config.engine.together=batched',
           '--config.checkpoint.every_steps=4']  # fmt: skip
  whole = train.run(runs.config_of(*group), tmp_path / 'whole')
  asked = [0]

  def stop():
    asked[0] += 1
    return 'SIGTERM' if asked[0] > 9 else ''

  with pytest.raises(train.Stopped, match='saved at step'):
    train.run(runs.config_of(*group), tmp_path / 'cut', stop)
  cut = train.run(runs.config_of(*group), tmp_path / 'cut')
  one, two = runs.saved(tmp_path / 'whole'), runs.saved(tmp_path / 'cut')
  assert one.keys() == two.keys()
  for name in one:
    np.testing.assert_array_equal(one[name], two[name], err_msg=name)
  assert [r['last'] for r in cut['runs']] == [r['last'] for r in whole['runs']]


@pytest.mark.process
def test_several_seeds_from_the_command_line(tmp_path):
  """Killed inside: one summary, a folder a seed with its own, pictures."""
  args = ['--config=digits_lt.py:ce', *runs.SHORT, '--config.seeds=2',
          '--config.checkpoint.every_steps=5']  # fmt: skip
  process = runs.start(tmp_path, *args, step_file=tmp_path / 'steps', sleep=0.1,
                       cover=False, linear=True)  # fmt: skip
  runs.wait_for_checkpoint(process, tmp_path, 0)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  process = runs.start(tmp_path, *args, cover=False, linear=True)
  out = process.communicate()[0]
  assert process.returncode == 0, out
  assert 'seeds 0 to 1' in out and 'Resumed at step' in out and '2 seeds: mean ± sd [95 %]' in out
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert summary['seeds'] == [0, 1] and len(summary['runs']) == 2
  for seed in (0, 1):
    folder = tmp_path / f'seed{seed}'
    assert [r['epoch'] for r in runs.records(folder)] == [1, 2, 3, 4, 5]
    assert json.loads((folder / 'summary.json').read_text())['seed'] == seed
    assert list(folder.glob('*.png'))


def test_the_race_times_both_ways(linear, tmp_path):
  s = session.open_session(runs.config_of(*QUICK, '--config.seeds=2'), tmp_path, lambda: '')
  with s.manager:
    seed_runs = resume.begin(s)
    before = jax.tree.map(np.asarray, [x.state.params for x in seed_runs])
    found = seeds.race(s, seed_runs)
    after = jax.tree.map(np.asarray, [x.state.params for x in seed_runs])
  assert found.keys() == {'interleaved', 'batched'} and min(found.values()) > 0
  assert len(s.programs) == 2
  jax.tree.map(np.testing.assert_array_equal, before, after)


def test_bad_requests_are_refused(linear, tmp_path):
  with pytest.raises(UserError, match='seeds=0 is not at least 1'):
    Loop(tmp_path / 'a', '--config.seeds=0')
  with pytest.raises(UserError, match="no 'both' for --config.engine.together"):
    Loop(tmp_path / 'b', '--config.seeds=2', '--config.engine.together=both')
  with pytest.raises(UserError, match='each seed has its own coin'):
    Loop(
      tmp_path / 'c', '--config.seeds=2', '--config.engine.together=batched',
      '--config.streams.pair.gate=coin',
    )  # fmt: skip


def test_interval_of_the_mean_by_hand():
  got = tables.spread([0.5, 0.6, 0.7])
  # t_{.975, 2} = 4.3027, sd .1
  half = 4.3027 * 0.1 / math.sqrt(3)
  assert got['mean'] == pytest.approx(0.6) and got['sd'] == pytest.approx(0.1)
  assert got['low'] == pytest.approx(0.6 - half, abs=1e-5)
  assert got['high'] == pytest.approx(0.6 + half, abs=1e-5)
  assert math.isnan(tables.spread([0.5])['sd'])


# the compile cache


def test_programs_are_kept_in_the_users_cache_unless_told_otherwise(monkeypatch, tmp_path):
  told = {}
  monkeypatch.setattr(jax.config, 'update', lambda k, v: told.__setitem__(k, v))
  monkeypatch.setenv('FASS_JAX_CACHE', str(tmp_path))
  compiler.use_cache('auto')
  assert told == {'jax_enable_compilation_cache': True}  # the tests have a cache of their own
  unset = property(lambda self: {'jax_compilation_cache_dir': None})
  monkeypatch.setattr(type(jax.config), 'values', unset)
  compiler.use_cache('auto')
  assert pathlib.Path(told['jax_compilation_cache_dir']) == tmp_path / 'programs'
  compiler.use_cache(str(tmp_path / 'mine'))
  assert pathlib.Path(told['jax_compilation_cache_dir']) == tmp_path / 'mine'
  told.clear()
  compiler.use_cache('off')
  assert told == {'jax_enable_compilation_cache': False}
