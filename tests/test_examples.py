"""Runs that train on features of a frozen network, or on resampled rows, instead of their data."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.config import stages
from fass_jax.engine.predictor import predictor
from fass_jax.nets.base import apply
from fass_jax.recipe import words
from fass_jax.recipe.build import build
from fass_jax.recipe.prior import implied
from fass_jax.run import loop, resume, session
from fass_jax.sampling.smote import nearest
from fass_jax.types import UserError
from fass_jax.workdir import checkpoint
from fass_jax.workdir.open import open_run
from tests import bench, pieces, runs


@pytest.fixture(scope='module', autouse=True)
def tiny():
  with pytest.MonkeyPatch.context() as patch:
    runs.use_tiny_net(patch)
    yield


SHORT = ['--config.epochs=10', '--config.eval.every=10', '--config.checkpoint.every_s=0']
STAGE = '--config.stages.classifier.'


def config_of(method, *args):
  return runs.config_of(f'--config=digits_lt.py:{method}', *SHORT, *args)


def table(method, *args):
  return runs.config_of(f'--config=table.py:{method}', '--config.epochs=2', *args)


def last_of(config, folder):
  """Returns the config of the last stage."""
  return stages.split(config, folder)[-1].config


def begun(config, folder):
  """Returns the session of a run and its seeds before the first step."""
  folder.mkdir(exist_ok=True)
  s = session.open_session(config, folder, lambda: '')
  with s.manager:
    return s, resume.begin(s)


@pytest.fixture(scope='module')
def done(tmp_path_factory):
  """A run of SMOTE, finished: ten epochs, then the head for one."""
  path = tmp_path_factory.mktemp('smote')
  loop.run(config_of('smote'), path)
  return path


@pytest.fixture(scope='module')
def first(done):
  return f'--config.start.run={done / "stages" / "first"}'


def network(folder):
  return runs.paths_of(checkpoint.variables(folder / 'checkpoints')[0])


def test_the_head_alone_trains_and_the_run_classifies_images(done):
  before, after = network(done / 'stages' / 'first'), network(done)
  assert before.keys() == after.keys()
  for path in after:
    same = np.array_equal(before[path], after[path])
    assert same != path.startswith('params/head'), path
  run = open_run(str(done))
  data = pieces.digits()
  guess = predictor(run, len(data.test_labels))(data.test_images).argmax(1)
  top1 = json.loads((done / 'summary.json').read_text())['last']['top1']
  assert abs((guess == data.test_labels).mean() - top1) < 1e-6
  # better on rare classes than the head of the first stage
  both = done / 'stages' / 'first', done
  few = [json.loads((x / 'summary.json').read_text())['last']['few'] for x in both]
  assert few[1] > few[0]


def test_examples_are_the_features_and_rows_between_them(first, tmp_path):
  s, (seed_run,) = begun(last_of(config_of('smote', first), tmp_path), tmp_path)
  data, store = pieces.digits(), seed_run.examples
  x, y, n = np.asarray(store.images), np.asarray(store.labels), len(data.train_labels)
  now = {'params': seed_run.state.params, 'batch_stats': seed_run.state.batch_stats}
  pixels = s.recipe.normalise(jnp.asarray(data.train_images))
  want = apply(s.recipe.net, now, pixels, False)[0].features
  np.testing.assert_allclose(x[:n], want, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(y[:n], data.train_labels)
  assert np.bincount(y).tolist() == store.classes.count.tolist() == [114] * 10
  assert bool(store.there.all()) and s.recipe.steps_per_epoch == -(-1140 // 64)
  # each new row lies between a row and one of its five nearest of the class
  near = np.asarray(nearest(x[:n], x[:n], 5, np.arange(n), y[:n]))
  for i in range(n, n + 40):
    (mine,) = np.nonzero(y[:n] == y[i])
    k = min(5, len(mine) - 1)
    ways = x[near[mine, :k]] - x[mine][:, None]
    from_base = (x[i] - x[mine])[:, None]
    delta = (from_base * ways).sum(-1) / np.maximum((ways**2).sum(-1), 1e-12)
    off = np.abs(from_base - np.clip(delta, 0, 1)[..., None] * ways).max(-1)
    assert off.min() < 1e-4


def test_the_recipe_says_what_it_trains_on():
  parts = stages.split(config_of('smote'), pathlib.Path('w'))
  said = ''.join(words.resolve(part.config) for part in parts)
  assert said.count('smote, k 5: 1140 rows, 114 per class') == 1
  assert 'features of the frozen network, without augmentation' in said
  assert '64 rows a step' in said and '18 steps of 64 rows' in said
  said = words.resolve(table('borderline_smote'))
  assert 'borderline_smote_1, k 5, m 10: 570 rows, 285 per class' in said
  assert 'stage' not in said and 'features' not in said


def test_it_ends_the_same_when_it_is_stopped_in_either_stage(done, tmp_path):
  steps = []

  def stop_at(n):
    def stop():
      steps.append(1)
      return 'enough' if len(steps) == n else ''

    return stop

  # each step asks once, and so does the end of an epoch: in the first stage, and in the second
  for n in (25, 54):
    steps.clear()
    with pytest.raises(loop.Stopped):
      loop.run(config_of('smote'), tmp_path, stop_at(n))
  assert not (tmp_path / 'summary.json').exists() and runs.checkpoints(tmp_path)
  loop.run(config_of('smote'), tmp_path)
  a, b = (runs.saved(x) for x in (done, tmp_path))
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_seeds_have_their_own_rows_in_one_program_or_in_turn(first, tmp_path):
  ended = {}
  for way in ('batched', 'interleaved'):
    sets = first, '--config.seeds=2', f'--config.engine.together={way}'
    loop.run(config_of('smote', *sets), tmp_path / way)
    ended[way] = checkpoint.variables(tmp_path / way / 'checkpoints')
  for a, b in zip(*ended.values()):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
      np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
  config = last_of(config_of('smote', first, '--config.seeds=2'), tmp_path)
  _, (one, two) = begun(config, tmp_path / 'seeds')
  n = len(pieces.digits().train_labels)
  np.testing.assert_array_equal(one.examples.images[:n], two.examples.images[:n])
  assert (one.examples.images[n:] != two.examples.images[n:]).any()


def test_places_of_a_class_that_stays_as_it_is_are_never_trained_on(first, tmp_path, caplog):
  """With m = 1 no row is in danger: all others are of the class, or all of another."""
  runs.listen(caplog)
  config = config_of('borderline_smote', first, f'{STAGE}examples.m=1')
  s, (seed_run,) = begun(last_of(config, tmp_path), tmp_path)
  said = list(dict.fromkeys(x for x in caplog.messages if 'no row is in danger' in x))
  assert said == [
    'borderline_smote_1: no row is in danger, so nothing is added: class 1 (1), class 2 (2), '
    'class 3 (3), class 4 (4), class 5 (5) and 4 more.'
  ]
  store, n = seed_run.examples, len(pieces.digits().train_labels)
  assert int(store.there.sum()) == int(store.classes.count.sum()) == n < len(store.labels)
  # the order by class names the rows that are there first
  assert sorted(np.asarray(store.classes.order)[:n].tolist()) == list(range(n))
  loop.run(config, tmp_path / 'run')
  (line,) = runs.records(tmp_path / 'run')
  config = config_of('crt', first, f'{STAGE}streams.natural.sampler=permutation',
                     f'{STAGE}data.augment=()', f'{STAGE}examples.of=features')  # fmt: skip
  loop.run(config, tmp_path / 'plain')
  (plain,) = runs.records(tmp_path / 'plain')
  # what was seen: each image once
  assert abs(line['train_top1'] * n - round(line['train_top1'] * n)) < 1e-3
  assert (line['step'], plain['step']) == (18, 6)


@pytest.mark.parametrize('method', ['ride', 'bcl', 'ldam', 'balanced_softmax', 'cmo', 'cuda'])
def test_it_follows_every_kind_of_head(method, tmp_path):
  """Three experts, a projection, a cosine head: a step changes the head and nothing else."""
  config = last_of(config_of(f'smote+{method}'), tmp_path)
  run = bench.Bench(config=config, shared=True)
  shape = run.store.images.shape
  assert shape == ((1140, 3, 6) if method == 'ride' else (1140, 8))
  before = run.before(0)
  after = run.go(0, 2)
  assert all(np.isfinite(row['loss']) for row in after.rows)
  a, b = runs.paths_of(before.params), runs.paths_of(after.state.params)
  moved = {p for p in a if not np.array_equal(a[p], b[p])}
  assert moved and all(p.startswith('head/') for p in moved)
  assert {p for p in a if p.startswith('head/') and 'linear/kernel' in p} <= moved


REFUSED = {
  'images': (
    ('ce', '--config.examples.resample=smote'),
    r'resample=smote makes new rows .* but the examples of digits_lt are images; use the features',
  ),
  'a network that changes': (
    ('ce', '--config.examples.of=features'),
    r'stays as it is below its head, but body/.* would change; set --config.optim.only',
  ),
  'statistics that change': (
    ('smote', f'{STAGE}optim.frozen_statistics=drift'),
    r'Stage classifier: .* its batch statistics would change',
  ),
  'an op': (
    ('smote', f"{STAGE}data.augment=('crop',)"),
    r'data.augment has crop, which needs images, but the examples of the features of digits_lt',
  ),
  'a teacher': (
    ('smote', f'{STAGE}teacher.run=previous', f'{STAGE}terms.natural.loss=distillation'),
    r'teacher.run=.* needs the images, but .*features.*; drop one of the two',
  ),
  'a class of one image': (
    ('smote', '--config.imb_factor=114'),
    r'class 8 \(8\) has only one training example, but smote makes new ones between two',
  ),
  'k': (('smote', f'{STAGE}examples.k=0'), r'examples.k=0 is not at least 1'),
  'm': (('borderline_smote', f'{STAGE}examples.m=0'), r'examples.m=0 is not at least 1'),
  'many': (
    ('borderline_smote', f'{STAGE}examples.m=383'),
    r'm=383 nearest rows, but m is in 1 .. 382 for 383 rows',
  ),
  'a name': (
    ('smote', f'{STAGE}examples.resample=smoat'),
    r"no 'smoat' for --config.examples.resample.*'smote'",
  ),
  'a sampler': (('smote+crt',), r'sampler=class_balanced correct the class prior twice.*drop one'),
  'class weights': (('smote+cb_head',), r'kind=effective_number and examples.resample=smote corr'),
  'another stage': (('smote+lws',), r"'lws' and 'smote' cannot be combined.*drop one"),
  'both': (('smote+borderline_smote',), r'examples.resample to .*drop one of them'),
}


@pytest.mark.parametrize('what', REFUSED)
def test_what_makes_no_sense_is_refused_before_anything_trains(what, tmp_path):
  args, said = REFUSED[what]
  with pytest.raises(UserError, match=said):
    loop.run(config_of(*args), tmp_path / 'run')
  assert not (tmp_path / 'run' / 'stages').exists()


def test_a_loss_that_corrects_the_prior_is_refused_on_resampled_rows_of_a_table():
  config = table('balanced_softmax+smote')
  with pytest.raises(UserError, match=r'loss=balanced_softmax and examples.resample=smote correct'):
    build(config, bench.load(config))


def test_the_prior_is_that_of_the_resampled_classes(tmp_path):
  counts = np.bincount(pieces.digits().train_labels).tolist()
  for method, doubt in (('smote', False), ('borderline_smote', True)):
    got = implied(last_of(config_of(method), tmp_path), counts)
    np.testing.assert_allclose(got.prior, 0.1)
    assert ('a class without examples in danger has no new ones' in got.guesses) == doubt


def test_a_run_of_more_rows_than_images_is_finished_when_its_steps_are_done(done, tmp_path, caplog):
  runs.listen(caplog)
  open_run(str(done))
  assert 'not finished' not in caplog.text
  shutil.copytree(done, tmp_path / 'run')
  steps = []
  shutil.rmtree(tmp_path / 'run' / 'checkpoints')
  (tmp_path / 'run' / 'summary.json').unlink()
  with pytest.raises(loop.Stopped):  # after 9 of 18 steps; 383 images would be 6
    loop.run(
      config_of('smote'), tmp_path / 'run', lambda: (steps.append(1), 'x' * (len(steps) == 9))[1]
    )
  open_run(str(tmp_path / 'run'))
  assert 'is not finished: step 9 of 18' in caplog.text


@pytest.mark.parametrize('method', ['smote', 'borderline_smote', 'smote+fass_mixup'])
def test_rows_of_a_table_are_resampled_before_training(method, tmp_path):
  config = table(method)
  s, (seed_run,) = begun(config, tmp_path)
  store, rows = seed_run.examples, s.data.train_images
  assert not config.stages and np.bincount(s.data.train_labels).tolist() == [285, 28]
  np.testing.assert_array_equal(store.images[:313], rows)
  assert store.classes.count.tolist() == [285, 285] and s.recipe.steps_per_epoch == -(-570 // 64)
  # distances are standardised: neighbours in the normalised rows are the ends of the segments
  mine = s.recipe.normalise(jnp.asarray(rows[s.data.train_labels == 1]))
  new = np.asarray(s.recipe.normalise(store.images[313:]))
  assert (new >= np.asarray(mine.min(0)) - 1e-4).all() and (
    new <= np.asarray(mine.max(0)) + 1e-4
  ).all()
  # statistics are those of the table, not of the new rows
  np.testing.assert_allclose(s.recipe.normalise.mean, rows.mean(0, np.float64), rtol=1e-6)
  found = loop.run(config, tmp_path / 'run')
  assert found['last']['top1'] > 0.5
