"""Runs that follow a run: started from it, parts of it frozen, taught by it."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import main, nets
from fass_jax.engine import step, views
from fass_jax.engine.forward import teacher_logits
from fass_jax.nets import paths
from fass_jax.recipe.build import build
from fass_jax.run import loop, records, resume, session, start
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import UserError
from fass_jax.workdir import checkpoint
from fass_jax.workdir.open import SavedRun, read
from tests import runs


@pytest.fixture
def linear(monkeypatch):
  runs.use_linear_net(monkeypatch)


@pytest.fixture(scope='module')
def host(tmp_path_factory):
  """Seeds 3 and 4 of plain training with the linear net: work directory, state of seed 3, rows."""
  path = tmp_path_factory.mktemp('host')
  config = runs.config_of('--config=digits_lt.py:ce', '--config.epochs=2', '--config.seed=3',
                          '--config.seeds=2')  # fmt: skip
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    return (path, *runs.in_memory(config, path, keep=True))


def opened(path, *args):
  """Opens a session and begins; returns it with its lanes."""
  s = session.open_session(runs.config_of(*args), path, lambda: '')
  with s.manager:
    return s, resume.begin(s)


# starting from a run


def test_a_run_starts_where_another_ended(linear, host, tmp_path):
  folder, end, rows = host
  config = ('--config=digits_lt.py:fass', f'--config.start.run={folder}', '--config.seed=4',
            '--config.seeds=3')  # fmt: skip
  s, seed_runs = opened(tmp_path, *config)
  third, fourth = (
    np.asarray(x['params']['w']) for x in checkpoint.variables(folder / 'checkpoints')
  )
  np.testing.assert_array_equal(third, end.params['w'])
  assert not np.array_equal(third, fourth)
  # seed 4 from seed 4; seeds 5 and 6, which are not there, from the first
  for seed_run, want in zip(seed_runs, (fourth, third, third)):
    np.testing.assert_array_equal(seed_run.state.params['w'], want)
    np.testing.assert_array_equal(seed_run.state.batch_stats['seen'], end.batch_stats['seen'])
    assert (
      int(seed_run.state.step) == 0 and float(seed_run.state.signals['score'].matrix.sum()) == 0
    )
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(seed_run.state.opt_state))
  assert seed_runs[1].state.params['w'] is not seed_runs[2].state.params['w']  # both are donated
  now = session.variables(seed_runs[1].state)
  top1 = records.metrics_on_test_set(s, jax.device_get(session.counts_on_test_set(s, now)))['top1']
  assert top1 == rows[-1]['test']['top1'] > 0.3


def test_what_is_taken_over():
  new = {'a': {'x': jnp.zeros(2), 'y': jnp.zeros(3)}, 'b': jnp.zeros(4)}
  old = {'a': {'x': jnp.ones(2)}, 'b': jnp.ones(4), 'c': jnp.ones(1)}
  got = paths.flat(start.take_over(new, old, ()))
  assert {k: float(v.sum()) for k, v in got.items()} == {'a/x': 2, 'a/y': 0, 'b': 4}
  got = paths.flat(start.take_over(new, old | {'b': jnp.ones(5)}, ('b',)))
  assert {k: float(v.sum()) for k, v in got.items()} == {'a/x': 2, 'a/y': 0, 'b': 0}
  with pytest.raises(UserError, match=r'has b of shape \(5,\), but .* needs \(4,\).*start.fresh'):
    start.take_over(new, old | {'b': jnp.ones(5)}, ())


def test_batch_statistics_may_begin_anew(linear, host, tmp_path):
  _, (seed_run,) = opened(
    tmp_path, '--config=digits_lt.py:ce', f'--config.start.run={host[0]}',
    '--config.start.statistics=False', '--config.seed=3',
  )  # fmt: skip
  np.testing.assert_array_equal(seed_run.state.params['w'], host[1].params['w'])
  assert seed_run.state.batch_stats['seen'] == 0


def test_a_run_does_not_start_from_itself(linear, tmp_path):
  with pytest.raises(UserError, match='is the work directory of this run; choose another'):
    opened(tmp_path, '--config=digits_lt.py:ce', f'--config.start.run={tmp_path}')


def test_images_that_are_held_out_were_not_trained_on_before(linear, host, tmp_path):
  for key, method in (('start.run', 'ce'), ('teacher.run', 'distill')):
    args = f'--config=digits_lt.py:{method}', f'--config.{key}={host[0]}'
    with pytest.raises(UserError, match=r'held out here \(data.held_out 0.0 there, 0.1 here\)'):
      opened(tmp_path / method, *args, '--config.data.held_out=0.1')
  config = json.loads((host[0] / 'config.json').read_text())
  run = SavedRun('--config.start.run', 'w', config, [], {})
  same = runs.config_of('--config=digits_lt.py:ce')
  start.check_held_out(same, run)
  config['data']['held_out'] = 0.1
  kept = runs.config_of('--config=digits_lt.py:ce', '--config.data.held_out=0.1')
  start.check_held_out(kept, run)
  other = runs.config_of(
    '--config=digits_lt.py:ce', '--config.data.held_out=0.1', '--config.data.subset_seed=4'
  )
  with pytest.raises(UserError, match='data.subset_seed 0 there, 4 here'):
    start.check_held_out(other, run)


def test_what_is_frozen_is_taken_over():
  here = ['body/a', 'body/b', 'head/w']

  def check(old, *args):
    config = runs.config_of('--config.start.run=w', '--config.optim.only=("head",)', *args)
    start.check_frozen(config, 'start.run', here, old)

  check(['body/a', 'body/b'])
  check(here, '--config.start.fresh=("head",)')
  for old, args in ((['body/a'], []), (here, ['--config.start.fresh=("body/b",)'])):
    with pytest.raises(UserError, match='start.run=w does not provide body/b, which is frozen'):
      check(old, *args)
  with pytest.raises(UserError, match='would keep their initial batch statistics'):
    check(here, '--config.start.statistics=False')
  check(here, '--config.start.statistics=False', '--config.optim.frozen_statistics=drift')


# distillation


def distilled(path, host, *args, method='distill'):
  config = runs.config_of(f'--config=digits_lt.py:{method}', f'--config.teacher.run={host[0]}',
                          '--config.epochs=2', *args)  # fmt: skip
  return runs.in_memory(config, path)


def test_a_student_that_is_its_teacher_stays(linear, host, tmp_path):
  state, rows = distilled(
    tmp_path, host, f'--config.start.run={host[0]}', '--config.loss=distillation',
    '--config.seed=3', '--config.optim.weight_decay=0.0',
  )  # fmt: skip
  assert abs(rows[-1]['loss']) < 1e-5
  np.testing.assert_allclose(state.params['w'], host[1].params['w'], rtol=0, atol=1e-5)


def test_the_teacher_changes_the_run(linear, host, tmp_path):
  warm = ('--config.optim.warmup_epochs=20.0', '--config.optim.warmup_fraction=0.1')
  plain = runs.config_of('--config=digits_lt.py:ce', '--config.epochs=2', *warm)
  alone, rows = runs.in_memory(plain, tmp_path / 'ce')
  taught, told = distilled(tmp_path / 'distill', host)
  assert np.abs(alone.params['w'] - taught.params['w']).max() > 1e-3
  assert told[0]['terms']['distill'] > told[1]['terms']['distill'] > 0
  total = told[0]['terms']['natural'] + told[0]['terms']['distill']
  assert told[0]['loss'] == pytest.approx(total, rel=1e-5)


def test_every_seed_has_the_teacher_of_its_own(linear, host, tmp_path):
  """Seeds 3 and 4 in turns and in one program are the runs of each alone."""
  args = ['--config=digits_lt.py:distill', f'--config.teacher.run={host[0]}', '--config.epochs=2']
  alone = [
    runs.in_memory(runs.config_of(*args, f'--config.seed={k}'), tmp_path / str(k))[0].params['w']
    for k in (3, 4)
  ]
  others = checkpoint.variables(host[0] / 'checkpoints')
  for way, close in (('interleaved', 0), ('batched', 1e-5)):
    both = ['--config.seed=3', '--config.seeds=2', f'--config.engine.together={way}']
    config = runs.config_of(*args, *both)
    s, seed_runs = opened(tmp_path / way, *args, *both)
    for seed_run, other in zip(seed_runs, others):
      np.testing.assert_array_equal(seed_run.teacher['params']['w'], other['params']['w'])
    runs.in_memory(config, tmp_path / way, keep=True)
    ends = checkpoint.variables(tmp_path / way / 'checkpoints')
    for end, want in zip(ends, alone):
      np.testing.assert_allclose(end['params']['w'], want, rtol=10 * close, atol=close)
  # one that is not there: the first
  (seed_run,) = opened(tmp_path / 'seed 7', *args, '--config.seed=7')[1]
  np.testing.assert_array_equal(seed_run.teacher['params']['w'], others[0]['params']['w'])


def test_the_teacher_is_asked_in_evaluation_mode_and_by_its_terms_alone(linear, host, tmp_path):
  s, (seed_run,) = opened(
    tmp_path, '--config=digits_lt.py:distill+fass', f'--config.teacher.run={host[0]}'
  )
  calls, net = [], s.recipe.teacher

  def embed(variables, x, train):
    calls.append((x.shape, train))
    return net.embed(variables, x, train)

  spied = s.recipe._replace(teacher=net._replace(embed=embed))
  every = step.active_views(spied, 1, {})
  plan = s.plan(seed_run.state.key, seed_run.state.step, s.store)
  store = s.store._replace(teacher=seed_run.teacher)

  def trace(recipe):
    jax.eval_shape(functools.partial(step.train_step, recipe, every), seed_run.state, store, plan)

  trace(spied)
  assert calls == [((64, 8, 8, 3), False)]  # the natural view, not the two mixed ones
  without = {k: v for k, v in spied.terms.items() if k != 'distill'}
  trace(spied._replace(terms=without))
  assert len(calls) == 1
  # what it says are its own logits
  x = jax.random.normal(jax.random.key(0), (5, 8, 8, 3))
  view = views.Input(x, None, None, None, None, None)
  told = teacher_logits(s.recipe, {'natural': view, 'mixup': view}, store)
  assert list(told) == ['natural']
  np.testing.assert_allclose(
    told['natural'], x.reshape(5, -1) @ host[1].params['w'], rtol=1e-4, atol=1e-4
  )


# what cannot be


@pytest.mark.parametrize(
  'args, words',
  [
    ([':ce', 'start.run=nowhere'], ['start.run=nowhere is not the work directory', '--workdir']),
    ([':ce', 'start.run=EMPTY'], ['has no readable checkpoint', 'start that run again']),
    ([':ce', 'start.run=HOST', 'data.image_size=4'],
     ['w of shape (192, 10), but this network needs (48, 10)', '--config.start.fresh']),
    ([':ce', 'start.run=HOST', 'start.fresh=v'], ["start.fresh names 'v'", 'choose from w.']),
    ([':ce', 'start.run=HOST', 'start.fresh=w'], ['shares no parameter']),
    ([':ce', 'optim.only=w'], ["optim.only=('w',) freezes all other parts", '--config.start.run']),
    ([':ce', 'start.run=HOST', 'optim.only=head'], ["optim.only names 'head'", 'choose from w.']),
    ([':ce', 'optim.frozen_statistics=kept'], ["did you mean 'keep'"]),
    ([':ce', 'optim.curve=cosin'], ["did you mean 'cosine'"]),
    ([':distill'], ["loss 'distillation' needs a teacher", '--config.teacher.run=WORKDIR']),
    ([':distill', 'teacher.run=nowhere'], ['teacher.run=nowhere is not the work directory']),
    ([':distill', 'teacher.run=HOST', 'data.image_size=4'],
     ['cannot be the teacher of this run', '(192, 10)', 'the 10 classes here', 'the same classes']),
    ([':distill', 'teacher.run=HOST', 'loss_args.distillation.temperature=0'], ['is not above 0']),
    ([':ce', 'teacher.run=HOST'], ['would never be asked', 'add the method distill']),
    ([':ce', 'augment.cam=True'], ["'cam' needs a trained network", 'teacher.run=WORKDIR']),
    ([':ce', 'data.augment=("cam", "crop")'], ["'cam' needs a trained network"]),
    ([':ce', 'teacher.run=HOST', 'augment.cam=True', 'views.natural.augment=("crop",)'],
     ['augment.cam=True would never be active', 'views.natural.augment']),
    ([':ride_router'], ['freezes all other parts', '--config.start.run=WORKDIR']),
    ([':ride_router', 'batch_size=64', 'net.router=False'], ["loss 'router' needs"]),
    ([':ride+ride_router'], ['cannot be combined', 'drop one']),
  ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(linear, host, tmp_path, capsys, args, words):
  empty = tmp_path / 'empty'
  empty.mkdir()
  (empty / 'config.json').write_text('{}')
  method, *sets = (a.replace('HOST', str(host[0])).replace('EMPTY', str(empty)) for a in args)
  flags = [f'--config=digits_lt.py{method}', *(f'--config.{x}' for x in sets)]
  assert main.main([*flags, f'--workdir={tmp_path / "run"}']) == 1
  (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith('fass_jax: ')]
  for word in words:
    assert word in line


def test_a_teacher_of_other_classes(host):
  run = read(str(host[0]), '--config.teacher.run')
  config = runs.config_of('--config=digits_lt.py:distill', f'--config.teacher.run={host[0]}')
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    recipe = build(config, session.load(config), start.teacher_net(run))
  fewer = {**run.variables[0], 'params': {'w': run.variables[0]['params']['w'][:, :7]}}
  with pytest.raises(UserError, match=r'\(192, 7\), but the 10 classes here need \(192, 10\)'):
    start.check_teacher(recipe, run, fewer, (8, 8, 3))


def test_a_refused_run_is_mended_in_its_work_directory(linear, host, tmp_path):
  with pytest.raises(UserError, match='nowhere'):
    loop.run(runs.config_of('--config=digits_lt.py:ce', '--config.start.run=nowhere'), tmp_path)
  s, _ = opened(tmp_path, '--config=digits_lt.py:ce', f'--config.start.run={host[0]}')
  assert json.loads((tmp_path / 'config.json').read_text())['start']['run'] == str(host[0])
  # with a checkpoint it belongs to its config
  with pytest.raises(UserError, match=r'another config: .*start.run'):
    opened(host[0], '--config=digits_lt.py:ce', '--config.start.run=elsewhere')


def test_a_damaged_newest_checkpoint_is_passed_over_and_kept(host, tmp_path):
  import shutil

  shutil.copytree(host[0] / 'checkpoints', tmp_path / 'two')
  shutil.copytree(tmp_path / 'two' / 'step_12', tmp_path / 'two' / 'step_13')
  for file in (tmp_path / 'two' / 'step_13').rglob('*'):
    if file.is_file() and 'tree' in file.parts:
      file.write_bytes(b'')
  seed_runs = checkpoint.variables(tmp_path / 'two')
  np.testing.assert_array_equal(seed_runs[0]['params']['w'], host[1].params['w'])
  assert (tmp_path / 'two' / 'step_13').exists()


# a network of layers: RIDE, then its router, then a student


TINY = ('--config.net.experts=2', '--config.epochs=2', '--config.batch_size=64')


@pytest.fixture
def tiny(monkeypatch):
  runs.use_tiny_net(monkeypatch)


@pytest.fixture(scope='module')
def ride(tmp_path_factory):
  """Experts as they begin, with statistics as if they had seen images: folder and state."""
  path = tmp_path_factory.mktemp('ride')
  with pytest.MonkeyPatch.context() as patch:
    runs.use_tiny_net(patch)
    config = runs.config_of('--config=digits_lt.py:ride', *TINY, '--config.reweight.kind=none')
    s = session.open_session(config, path, lambda: '')
    with s.manager:
      (seed_run,) = resume.begin(s)
      stats = jax.tree.map(lambda x: x + 0.1, seed_run.state.batch_stats)
      seed_run = seed_run._replace(state=seed_run.state._replace(batch_stats=stats))
      resume.save(s, [seed_run])
      s.manager.wait_until_finished()
  return path, seed_run.state


def test_a_router_learns_on_top_of_frozen_experts(ride, tiny, tmp_path):
  folder, end = ride
  args = ('--config=digits_lt.py:ride_router', *TINY)
  config = runs.config_of(*args, f'--config.start.run={folder}')
  state, rows = runs.in_memory(config, tmp_path, keep=True)
  old, new = paths.flat(end.params), paths.flat(state.params)
  router = {p for p in new if p.startswith('head/router/')}
  assert new.keys() - old.keys() == router and len(router) == 4
  for p in old:
    np.testing.assert_array_equal(new[p], old[p], err_msg=p)
  for p, value in paths.flat(end.batch_stats).items():
    np.testing.assert_array_equal(paths.flat(state.batch_stats)[p], value, err_msg=p)
  assert all(1 <= r['test']['experts_used'] <= 2 for r in rows) and rows[0]['loss'] > 0
  # one buffer a leaf of the router, and all have moved
  buffers = jax.tree.leaves(state.opt_state)
  assert len(buffers) == 4 and all(np.abs(x).max() > 0 for x in buffers)
  # the run goes on from its own checkpoint, the other one gone
  moved = folder.rename(folder.with_name('moved'))
  _, (again,) = opened(tmp_path, *args, f'--config.start.run={folder}')
  moved.rename(folder)
  assert int(again.state.step) == 12
  jax.tree.map(np.testing.assert_array_equal, again.state.opt_state, state.opt_state)


def test_no_gradient_is_computed_for_frozen_parts():
  data = session.load(runs.config_of())
  labels = jnp.asarray(data.train_labels)
  store = views.Store(jnp.asarray(data.train_images), labels, index_classes(labels, 10))

  def convolutions(*args):
    base = ('--config=digits_lt.py:ride_router', *TINY, '--config.start.run=x')
    recipe = build(runs.config_of(*base, *args), data)
    state = jax.eval_shape(lambda k: step.init_state(recipe, k, (8, 8, 3)), jax.random.key(0))
    run = functools.partial(step.train_step, recipe, ('natural',))
    return str(jax.make_jaxpr(run)(state, store, {})).count('conv_general_dilated['), recipe.only

  forward, only = convolutions()
  assert forward == 1 + 2 + 2 * 4 and only == ('head/router',)
  # '' trains all: the way back has two convolutions for each but the first
  both, only = convolutions('--config.optim.only=')
  assert both > 2 * forward and only == ()


def test_frozen_statistics_may_drift(monkeypatch):
  seen, real = [], nets.build

  def spy(*args, moving, **how):
    seen.append(moving)
    return real(*args, moving=moving, **how)

  monkeypatch.setattr(nets, 'build', spy)
  config = runs.config_of('--config=digits_lt.py:ride_router', *TINY, '--config.start.run=x')
  for config.optim.frozen_statistics in ('keep', 'drift'):
    build(config, session.load(config))
  assert seen == [('head/router',), ()]


def test_a_linear_net_is_distilled_from_experts(ride, tiny, tmp_path, monkeypatch):
  real = nets.build

  def student(*args, **how):
    return real(*args, **how) if args[2] == 'cosine' else runs.linear_net(args[-1])

  monkeypatch.setattr(nets, 'build', student)
  config = runs.config_of(
    '--config=digits_lt.py:distill',
    '--config.epochs=2',
    '--config.optim.lr=0.01',
    f'--config.teacher.run={ride[0]}',
  )
  s = session.open_session(config, tmp_path, lambda: '')
  with s.manager:
    (seed_run,) = resume.begin(s)
  for part, want in (('params', ride[1].params), ('batch_stats', ride[1].batch_stats)):
    jax.tree.map(np.testing.assert_array_equal, seed_run.teacher[part], want)
  state, rows = runs.in_memory(config, tmp_path)
  assert rows[0]['terms']['distill'] > rows[1]['terms']['distill'] > 0.01
  # the teacher is not in the state, nor, with it, in a checkpoint
  assert list(paths.flat((state.params, state.batch_stats))) == ['0/w', '1/seen']


def test_warm_up_of_the_distilled_recipe():
  config = runs.config_of('--config=cifar100_lt.py:ride+distill')
  o = config.optim
  assert min(o.warmup_epochs, o.warmup_fraction * config.epochs) == 20
