"""The command that evaluates a finished run, and the classifier at a run's end, on real digits."""

import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fass_jax import evaluate, main
from fass_jax.classifiers import CLASSIFIERS
from fass_jax.data.load import load
from fass_jax.nets import base
from fass_jax.nets.base import apply
from fass_jax.nets.norm import BatchNorm
from fass_jax.recipe.images import normaliser_of
from fass_jax.report import tables
from fass_jax.run import resume, session
from fass_jax.workdir.open import open_run
from tests import runs
from tests.data import photos

ARGS = ['--config=digits_lt.py:ce', *runs.SHORT, '--config.data.held_out=0.2']
TRAINED = ['--config.classifier=ncm']


class Pixels(nn.Module):
  """A backbone whose features are the pixels: learns the digits in a few steps."""

  @nn.compact
  def __call__(self, x, train, pooled=True):
    return BatchNorm(name='bn1')(x, train).reshape(len(x), -1)


@pytest.fixture(scope='module', autouse=True)
def pixels():
  """Real heads on pixels: what is asked is what becomes of features, weights and logits."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(base.BACKBONES, 'resnet_cifar', lambda **preparation: Pixels())
    runs.compile_quickly(patch, 0)
    yield


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A short run whose figures are those of nearest class means."""
  path = tmp_path_factory.mktemp('evaluate') / 'run'
  assert main.main([*ARGS, *TRAINED, f'--workdir={path}']) == 0
  return path


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
  """A run of two seeds that holds nothing out, with a linear net."""
  path = tmp_path_factory.mktemp('bare') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    config = runs.config_of('--config=digits_lt.py:ce', '--config.epochs=2', '--config.seeds=2')
    runs.in_memory(config, path, keep=True)
  return path


def call(capsys, *args):
  """Runs the command in this process; returns (code, stdout, the sentence on stderr)."""
  code = evaluate.main([*map(str, args)])
  out, err = capsys.readouterr()
  lines = [x for x in err.splitlines() if x.startswith('fass_jax: ')]
  assert 'Traceback' not in err and len(lines) <= 1
  return code, out, ''.join(lines)


def evaluated(capsys, path, name, *args):
  code, out, err = call(capsys, f'--workdir={path}', f'--classifier={name}', *args)
  assert code == 0, err
  return json.loads((path / f'evaluation-{name}.json').read_text()), out


def summary(path):
  return json.loads((path / 'summary.json').read_text())


def copied(path, tmp_path, **how):
  """A copy of a finished run whose config asks for another classifier."""
  shutil.copytree(path, tmp_path / 'copy')
  file = tmp_path / 'copy' / 'config.json'
  config = json.loads(file.read_text())
  args = {'tau': how.pop('tau', 'auto'), 'calibrate': how.pop('calibrate', False)}
  config.update(how)
  config['classifier_args'].update(args)
  file.write_text(json.dumps(config))
  sets = [f'--config.classifier_args.{k}={v}' for k, v in args.items()]
  return tmp_path / 'copy', [*sets, *(f'--config.{k}={v}' for k, v in how.items())]


@pytest.mark.parametrize(
  'name, how, flags',
  [
    ('ncm', None, []),
    ('tau_norm', {}, []),
    ('post_hoc', {'tau': '0.5', 'calibrate': True}, ['--tau=0.5', '--calibrate']),
  ],
)
def test_a_run_ends_with_what_the_command_finds(finished, tmp_path, capsys, name, how, flags):
  """Both fit on the same images; the predictions are not those of the trained head."""
  path = finished
  if how is not None:  # the end of the run again, with another classifier
    path, sets = copied(finished, tmp_path, classifier=name, **how)
    assert main.main([*ARGS, *sets, f'--workdir={path}']) == 0
  end = summary(path)
  assert end['classifier'] == name
  for which in ('last', 'best'):
    found, out = evaluated(capsys, finished, name, f'--which={which}', *flags)
    for part, mine in ((end[which], found['metrics']),
                       (end['as_trained'][which], found['as_trained'])):  # fmt: skip
      for key in ('top1', 'medium', 'few', 'nll', 'per_class'):
        np.testing.assert_allclose(part[key], mine[key], rtol=1e-4, err_msg=key)
    assert end['fitted'][which] == pytest.approx(found['runs'][0]['fitted'], rel=1e-4)
    assert f'{name}' in out.splitlines()[0] and 'as trained' in out
  assert end['last']['per_class'] != end['as_trained']['last']['per_class']
  assert ('tau' in end['fitted']['last']) == (name != 'ncm')
  assert ('temperature' in end['fitted']['last']) == (name == 'post_hoc')
  # the best epoch is still chosen by the network's own figures
  rows = runs.records(finished)
  assert end['best']['epoch'] == 1 + int(np.argmax([r['test']['top1'] for r in rows]))


def test_the_trained_classifier_is_the_last_record(finished, capsys):
  found, _ = evaluated(capsys, finished, 'trained')
  want = runs.records(finished)[-1]['test']
  assert found['metrics'] == found['as_trained']
  assert want.pop('many') is None  # no class has more than 100 images left
  for key, value in want.items():
    np.testing.assert_allclose(found['metrics'][key], value, rtol=1e-5, err_msg=key)


@pytest.mark.process
@pytest.mark.real_net
def test_the_command_as_a_process(tmp_path):
  path = shutil.copytree(runs.digits_run(), tmp_path / 'run')
  done = subprocess.run(
    [sys.executable, '-m', 'fass_jax.evaluate', f'--workdir={path}', '--classifier=trained'],
    cwd=runs.REPO, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  found = json.loads((path / 'evaluation-trained.json').read_text())
  for key, value in runs.records(path)[-1]['test'].items():
    np.testing.assert_allclose(found['metrics'][key], value, rtol=1e-5, err_msg=key)
  assert 'trained' in done.stdout.splitlines()[0]


def test_the_training_images_give_the_worst_ratio(finished, capsys):
  """Nearest class means again, in NumPy, on the images that were not held out."""
  found, out = evaluated(capsys, finished, 'ncm', '--train')
  run = open_run(str(finished))
  data = load(run.config)
  show = normaliser_of(run.preparation)

  def lowest(guess, labels):
    return min((guess == labels)[labels == c].mean() for c in range(10))

  sets = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
  outs = [apply(run.net, run.variables[0], show(jnp.asarray(x)), False)[0] for x, _ in sets]
  rows = [np.asarray(o.features, np.float64) for o in outs]
  rows = [x - rows[0].mean(0) for x in rows]
  rows = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows]
  means = np.stack([rows[0][sets[0][1] == c].mean(0) for c in range(10)])
  near = [((x[:, None] - means) ** 2).sum(-1).argmin(1) for x in rows]
  train, test = (lowest(guess, y) for guess, (_, y) in zip(near, sets, strict=True))
  assert train > test > 0 and len(data.train_labels) == 302
  new, own = found['metrics'], found['as_trained']
  np.testing.assert_allclose(new['train_worst_class'], train, rtol=1e-6)
  np.testing.assert_allclose(new['worst_ratio'], test / train, rtol=1e-6)
  # five epochs of the network: it is never right on the rarest class
  assert lowest(np.asarray(outs[0].logits[:, 0].argmax(-1)), sets[0][1]) == 0
  assert own['train_worst_class'] == 0 and own['worst_ratio'] is None
  assert 'worst class, test/training' in out and 'confusion, spectral norm' in out
  plain, out = evaluated(capsys, finished, 'trained')
  assert 'worst_ratio' not in plain['metrics'] and 'test/training' not in out
  both = plain['metrics'], summary(finished)['as_trained']['last']
  assert both[0]['confusion_norm'] == both[1]['confusion_norm'] > 0


def test_shifted_test_sets(finished, capsys):
  found, out = evaluated(capsys, finished, 'trained', '--shifts')
  part = found['shifts']
  assert 'with the known prior' in out and len(part['columns']) == 11
  recall = np.asarray(found['metrics']['per_class'])
  counts = np.bincount(load(runs.config_of(*ARGS)).train_labels)
  rank = np.argsort(np.argsort(-counts, kind='stable'))
  w = 50.0 ** -(rank / 10)
  as_it_is = part['as_it_is']
  np.testing.assert_allclose(as_it_is['top1'][0], (w * recall).sum() / w.sum(), rtol=1e-6)
  np.testing.assert_allclose(as_it_is['top1'][5], found['metrics']['top1'], rtol=1e-6)
  np.testing.assert_allclose(as_it_is['few'], [found['metrics']['few']] * 11, rtol=1e-6)
  # the training prior falls forwards: it is known to do well there and badly backwards
  assert as_it_is['top1'][0] > as_it_is['top1'][5] > as_it_is['top1'][10]
  assert part['known_prior']['top1'][10] > as_it_is['top1'][10]
  # the known uniform prior is post-hoc adjustment
  other, _ = evaluated(capsys, finished, 'post_hoc', '--shifts')
  np.testing.assert_allclose(part['known_prior']['top1'][5], other['metrics']['top1'], rtol=1e-6)
  np.testing.assert_allclose(
    part['known_prior']['top1'], other['shifts']['known_prior']['top1'], rtol=1e-6
  )


def test_resampled_test_sets_and_scores_that_are_no_probabilities(finished, capsys):
  found, out = evaluated(capsys, finished, 'ncm', '--shifts=resample', '--seed=1')
  part = found['shifts']
  assert part['known_prior'] is None and 'not probabilities' in out
  np.testing.assert_allclose(part['as_it_is']['top1'][5], found['metrics']['top1'], rtol=1e-6)
  same, _ = evaluated(capsys, finished, 'ncm', '--shifts=resample', '--seed=1')
  assert same == found
  other, _ = evaluated(capsys, finished, 'ncm', '--shifts=resample', '--seed=2')
  assert other['shifts'] != part
  known, _ = evaluated(capsys, finished, 'ncm', '--shifts=resample', '--seed=1', '--calibrate')
  assert known['shifts']['as_it_is'] == part['as_it_is']
  moved = known['shifts']['known_prior']['top1']
  np.testing.assert_allclose(moved[5], found['metrics']['top1'], rtol=1e-6)
  assert moved[0] != part['as_it_is']['top1'][0]


def test_seeds_are_averaged_and_a_prior_may_be_a_file(bare, tmp_path, capsys, monkeypatch):
  runs.use_linear_net(monkeypatch)
  file = tmp_path / 'p.json'
  file.write_text(json.dumps({str(c): 1 + c for c in range(10)}))
  found, out = evaluated(capsys, bare, 'post_hoc', f'--prior={file}', '--shifts')
  each = [r['metrics']['top1'] for r in found['runs']]
  assert [r['seed'] for r in found['runs']] == [0, 1] and each[0] != each[1]
  np.testing.assert_allclose(found['metrics']['top1'], np.mean(each), rtol=1e-6)
  part = [r['shifts']['known_prior']['few'][3] for r in found['runs']]
  np.testing.assert_allclose(found['shifts']['known_prior']['few'][3], np.mean(part), rtol=1e-6)
  assert 'mean of 2 seeds' in out


@pytest.mark.parametrize(
  'args, words',
  [
    (['--workdir=RUN', '--clasifier=ncm'], ["did you mean '--classifier'"]),
    (['--workdir=RUN', '--classifier=ncn'], ["no 'ncn' for --classifier", "did you mean 'ncm'"]),
    (['--workdir=RUN', '--classifier=tau_norm'],
     ['--config.data.held_out=0.1', 'give --tau=1']),
    (['--workdir=RUN', '--calibrate'], ['--config.data.held_out=0.1', 'leave --calibrate out']),
    (['--workdir=RUN', '--prior=uniform'], ['--prior=uniform does nothing', 'post_hoc']),
    (['--workdir=RUN', '--shifts', '--seed=1'], ['--seed=1 does nothing', '--shifts=resample']),
    (['--workdir=RUN', '--classifier=post_hoc', '--prior=unifrom'], ['--prior=unifrom', 'mean']),
    (['--workdir=RUN', '--classifier=post_hoc', '--tau=x'], ['--tau=x is neither']),
    (['--workdir=RUN', '--classifier=post_hoc', '--prior=none.csv'],
     ['--prior=none.csv: there is no such file']),
    (['--workdir=RUN', '--classifier=ncm', '--ncm=cl2'], ["no 'cl2' for --ncm", "mean 'cl2n'"]),
    (['--workdir=RUN', '--shifts=reweigh'], ["did you mean 'reweight'"]),
    (['--workdir=RUN', '--shifts=x'], ['there are resample, reweight']),
    (['--workdir=RUN', '--which=first'], ["no 'first' for --which"]),
    (['--workdir=RUN', '--seed=one'], ['--seed=one is not a whole number']),
    (['--workdir=RUN', 'ncm'], ["'ncm' is no flag"]),
    (['--workdir=RUN', '--config.epochs=3'], ['would make this another run', 'data.dir']),
    (['--workdir=RUN', '--config.data.workers=many'], ['data.workers=many', 'a whole number']),
    (['--workdir=EMPTY'], ['is not the work directory of a run']),
    (['--classifier=ncm'], ['give --workdir=DIR']),
    (['--workdir'], ['--workdir needs a value']),
  ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(bare, capsys, tmp_path, args, words):
  said = [a.replace('RUN', str(bare)).replace('EMPTY', str(tmp_path)) for a in args]
  code, out, err = call(capsys, *said)
  assert code == 1 and out == ''
  for word in words:
    assert word in err


def test_a_class_without_a_prior(finished, capsys, tmp_path):
  """Its images are given up: probability 0, and an infinite NLL that JSON does not have."""
  weights = dict.fromkeys(open_run(str(finished)).classes, 1.0)
  weights[next(iter(weights))] = 0.0
  (tmp_path / 'p.json').write_text(json.dumps(weights))
  found, out = evaluated(capsys, finished, 'post_hoc', f'--prior={tmp_path / "p.json"}')
  assert 'inf' in out
  end = {'last': {**summary(finished)['last'], 'nll': None}, 'best': summary(finished)['best']}
  end['best'].pop('confusion_norm')  # a run that is older than this figure
  assert '         inf' in tables.summary_table({**summary(finished), **end})


def test_another_training_set_is_said(bare, capsys, tmp_path):
  path, _ = copied(bare, tmp_path, imb_factor=30.0)
  code, _, err = call(capsys, f'--workdir={path}')
  assert code == 1 and 'not the one that the run saw: 383 images' in err


def test_a_run_that_cannot_choose_tau_does_not_begin(capsys, tmp_path):
  args = ['--config=digits_lt.py:ce', '--config.classifier=tau_norm', f'--workdir={tmp_path / "x"}']
  assert main.main(args) == 1 and main.main([*args, '--recipe']) == 1
  err = capsys.readouterr().err
  assert err.count('--config.data.held_out=0.1') == 2 and '--config.classifier_args.tau=1' in err


def test_help_needs_nothing(capsys):
  code, out, _ = call(capsys, '--workdir=nowhere', '--help')
  assert code == 0
  for word in (*evaluate.DEFAULTS, *CLASSIFIERS, 'data.root'):
    assert word in out


# photos: encoded images as squares on the device, and decoded when they are needed


def test_squares_and_streamed_images_fit_the_same(tmp_path, monkeypatch):
  runs.use_linear_net(monkeypatch)
  files = {
    f'{part}/{c}/{i}.jpg': photos.jpeg(100 * n + 10 * i + ord(c))
    for n, part in enumerate(('train', 'val')) for c in 'abc' for i in range(8)
  }  # fmt: skip
  root = photos.write(tmp_path / 'photos', files)
  found = []
  for store in ('resident', 'stream'):
    config = photos.config_of(
      'folder', tmp_path, root=root, image_size=12, store=store, square=64, held_out=0.3
    )
    config.data.augment, config.batch_size = ('resized_crop',), 4
    config.eval.batch_size = 5  # batches with fillers
    config.classifier, config.classifier_args.calibrate = 'ncm', True
    s = session.open_session(config, tmp_path / store, lambda: '')
    with s.manager:
      (seed_run,) = resume.begin(s)
    assert len(s.data.train_labels) == 15 and len(s.data.held_labels) == 9
    now = session.variables(seed_run.state)
    fitted = s.judge.fit(now)
    found.append(jax.device_get((fitted, s.judge.counts(now, fitted))))
  (a, counts), (b, others) = found
  # a square that was cut on the device is not quite one that was cut when it was decoded
  np.testing.assert_allclose(a.own['means'], b.own['means'], atol=0.05)
  assert np.isfinite(a.temperature) and a.temperature > 0
  assert counts.confusion.sum() == others.confusion.sum() == 24
  assert abs(np.trace(counts.confusion) - np.trace(others.confusion)) <= 3
