"""The command line: mistakes in one sentence, overrides, help, and what a run leaves behind."""

import json
import shutil
import subprocess
import sys

import pytest

from fass_jax import main
from fass_jax.command import config_file
from tests import runs


@pytest.fixture(scope='module', autouse=True)
def linear():
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    yield


def call(capsys, *args):
  """Runs the command line in this process; returns (code, stderr)."""
  code = main.main([*args])
  return code, capsys.readouterr().err.strip()


@pytest.mark.parametrize(
  'args, words',
  [
    (['--config.epoch=3'], ["no config key 'epoch'", "did you mean 'epochs'"]),
    (['--config.fs.weight=3'], ["no config key 'fs.weight'", 'terms.fs.weight']),
    (['--config=configs/digits_lt.py:fas'], ["no method 'fas'", "did you mean 'fass'"]),
    (['--config=configs/digit_lt.py'], ['no config file', "did you mean 'configs/digits_lt.py'"]),
    (['--confg=configs/digits_lt.py'], ['no flag', "did you mean '--config'"]),
    (['--config.epochs=many'], ['epochs=many', 'a whole number']),
    (['--config.epochs=2.5'], ['epochs=2.5', 'a whole number']),
    (['--config.data.mean=red'], ['data.mean=red', 'a tuple']),
    (['--config.epochs'], ['--config.epochs needs a value']),
    (['--config=digits_lt.py:mixup+cutmix'], ['cannot be combined', 'views.natural.mix']),
    (['--config=digits_lt.py:fass+mixup'], ['never be active']),
    (['--config.epochs=1'], ["'mixup' would never be active"]),
    (['--config.epochs=0'], ['epochs=0 is not at least 1']),
    (
      ['--config.batch_size=384', '--config.last_batch=drop'],
      ['larger than the training set of 383'],
    ),
    (['--config.net.depth=9'], ['net.depth=9 is not 6n + 2', '8']),
    (['--config.net.backbone=resnet_cifr'], ['net.backbone', "did you mean 'resnet_cifar'"]),
    (['--config.net.head=linaer'], ['net.head', "did you mean 'linear'"]),
    (['--config.imb_factor=0.5'], ['imb_factor=0.5 is not at least 1']),
    (['--config.imb_factor=200'], ['class']),
    (['--config.data.kind=digit_lt'], ['data.kind', "did you mean 'digits_lt'"]),
    (['--config.data.image_size=-4'], ['image_size=-4']),
    (['--config.streams.pair.rho=0'], ['streams.pair.rho=0.0 is not in (0, 1]']),
    (['--config.streams.pair.sampler=perm'], ['streams.pair.sampler']),
    (['--config.streams.pair.partner=scores'], ["did you mean 'score'"]),
    (['--config.streams.pair.partner=none'], ['needs --config.streams.pair.partner']),
    (['--config.streams.pair.lam_alpha=0'], ['lam_alpha']),
    (['--config.streams.pair.lambda_min=2'], ['lambda_min']),
    (['--config.signals.score.decay=1'], ['decay=1.0 is not in [0, 1)']),
    (['--config.signals.score.form=vektor'], ["did you mean 'vector'"]),
    (['--config.optim.schedule=((0.8, 1.0), (0.1, 0.1))'], ['order of time']),
    (['--config.streams.natural.gate=coin', '--config.streams.natural.rho=0.5'],
     ['the natural view is always trained']),
    (['--config.loss=cee'], ['--config.loss']),
    (['--config=digits_lt.py:fass+'], ["missing beside the '+' of 'fass+'"]),
    (['--config=digits_lt.py:FASS'], ["no method 'FASS'", "did you mean 'fass'"]),
    (['--config=digits_lt.py:ce', '--config.stages.classifier.optim.lr=1'],
     ["'ce' has no stages; the key of the run is 'optim.lr'"]),
    (['--config.optim.schedule=1.0'], ['schedule (1.0,) is no ((when, value), ...)']),
    (['--config.eval.every=0'], ['eval.every=0 is not at least 1']),
    (['--config.eval.ece_bins=0'], ['ece_bins=0 is not at least 1']),
    (['--config.optim.momentum=2'], ['momentum=2.0 is not in [0, 1)']),
    (['--config.optim.weight_decay=-1'], ['weight_decay=-1.0 is not at least 0']),
    (['--config.loss_args.focal.gamma=nan'], ['loss_args.focal.gamma=nan is not a number']),
    (['--config.terms.fs.weight=nan'], ['terms.fs.weight=nan is not a number']),
    (['--config=digits_lt.py:ens', '--config.streams.natural.partner=score',
      '--config.views.natural.mix=mixup'], ['reads a score matrix, but no signal']),
  ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(capsys, tmp_path, monkeypatch, args, words):
  runs.use_real_nets(monkeypatch)
  code, err = call(capsys, *args, f'--workdir={tmp_path / "run"}')
  assert code == 1
  lines = [line for line in err.splitlines() if line.startswith('fass_jax: ')]
  assert len(lines) == 1 and 'Traceback' not in err
  for word in words:
    assert word in lines[0]


@pytest.mark.process
def test_help_names_configs_methods_and_overrides():
  out = subprocess.run(
    [sys.executable, '-m', 'fass_jax.main', '--help'], cwd=runs.REPO, text=True,
    capture_output=True, check=True,
  ).stdout  # fmt: skip
  for word in ('digits_lt.py', 'cifar100_lt.py', 'random_mix', '--config.imb_factor', '--workdir'):
    assert word in out


def test_overrides_reach_the_config():
  config, workdir, given = config_file.load_config([
    '--config', 'configs/cifar100_lt.py:fass', '--config.imb_factor=50', '--workdir=x',
    '--config.net.depth', '8', '--config.terms.fs.weight=0.5',
    '--config.optim.schedule=((0, 1.0), (0.5, 0.1))', '--config.data.augment=("crop",)',
  ])  # fmt: skip
  assert (config.name, config.method, config.imb_factor, config.net.depth) == (
    'cifar100_lt', 'fass', 50.0, 8)  # fmt: skip
  assert config.terms.fs.weight == 0.5 and workdir == 'x'
  assert config.optim.schedule == ((0, 1.0), (0.5, 0.1)) and config.data.augment == ('crop',)
  assert given == {
    'imb_factor': 50.0, 'net.depth': 8, 'terms.fs.weight': 0.5,
    'optim.schedule': [[0, 1.0], [0.5, 0.1]], 'data.augment': ['crop'],
  }  # fmt: skip


def test_defaults_are_digits_with_fass():
  config, workdir, _ = config_file.load_config([])
  assert (config.name, config.method, workdir) == ('digits_lt', 'fass', '')
  assert str(main.default_workdir(config)) == 'runs/digits_lt-fass-seed0'


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A short run through the command line, in this process."""
  path = tmp_path_factory.mktemp('finished') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    runs.draw_again(patch)
    assert main.main([*runs.SHORT, f'--workdir={path}']) == 0
  return path


def test_a_run_leaves_its_files(finished):
  summary = json.loads((finished / 'summary.json').read_text())
  assert summary['method'] == 'fass' and summary['seed'] == 0 and summary['epochs'] == 5
  for part in ('last', 'best'):
    assert {'top1', 'many', 'medium', 'few', 'worst_class', 'worst_tenth', 'balanced_error',
            'macro_f1', 'ece_15', 'nll'} <= summary[part].keys()  # fmt: skip
    assert 0 <= summary[part]['top1'] <= 1
  assert summary['best']['top1'] >= summary['last']['top1'] and summary['wall_s'] > 0
  rows = [json.loads(line) for line in (finished / 'metrics.jsonl').read_text().splitlines()]
  assert [r['epoch'] for r in rows] == [1, 2, 3, 4, 5] and rows[-1]['step'] == 30
  mixed = rows[-1]['mixed']['cutmix']
  assert {'lam_below_half_all', 'lam_few', 'area_many'} <= mixed.keys()
  assert {'targets_changed', 'target_stability'} <= rows[-1]['signals']['score'].keys()
  config = json.loads((finished / 'config.json').read_text())
  assert config['streams']['pair']['rho'] == 0.3 and config['terms']['fs']['weight'] == 0.8
  for name in ('learning_curves', 'score_matrix', 'confusion_matrix', 'recall_by_count'):
    picture = (finished / f'{name}.png').read_bytes()
    assert picture[:8] == b'\x89PNG\r\n\x1a\n' and len(picture) > 5000


def test_the_events_hold_the_epochs_as_the_metrics_do(finished):
  """Records of TensorBoard: length (8 bytes), its check sum (4), an event, its check sum (4)."""
  from tensorboardX.proto.event_pb2 import Event

  (path,) = (finished / 'tensorboard').glob('events.*')
  data, losses = path.read_bytes(), []
  while data:
    end = 12 + int.from_bytes(data[:8], 'little')
    event, data = Event.FromString(data[12:end]), data[end + 4 :]
    losses += [(event.step, v.simple_value) for v in event.summary.value if v.tag == 'loss']
  rows = [json.loads(line) for line in (finished / 'metrics.jsonl').read_text().splitlines()]
  assert losses == [(r['epoch'], pytest.approx(r['loss'], rel=1e-6)) for r in rows]


def test_another_config_in_the_same_workdir_names_the_keys(finished, capsys):
  args = [*runs.SHORT, f'--workdir={finished}', '--config.seed=4', '--config.optim.lr=0.05']
  code, err = call(capsys, *args)
  assert code == 1 and 'seed (0 -> 4)' in err and 'optim.lr (0.1 -> 0.05)' in err


def test_a_run_that_is_older_than_a_key_is_continued(finished, tmp_path, capsys):
  """It has had the default of the key, and no other value."""
  shutil.copytree(finished, tmp_path / 'old')
  path = tmp_path / 'old' / 'config.json'
  config = json.loads(path.read_text())
  del config['augment']['cam'], config['optim']['nesterov'], config['stacked_priors']
  del config['streams']['pair']['beta'], config['terms']['fs']['divisor']
  path.write_text(json.dumps(config))
  args = [*runs.SHORT, f'--workdir={tmp_path / "old"}']
  for key, value in (('optim.nesterov', 'True'), ('streams.pair.beta', '0.5')):
    code, err = call(capsys, *args, f'--config.{key}={value}')
    assert code == 1 and f'another config: {key} (unset -> {value}); give' in err
  assert main.main(args) == 0
  assert json.loads(path.read_text())['augment']['cam'] is False


def test_epoch_lines_in_the_log_where_there_is_no_terminal(finished, caplog):
  runs.listen(caplog)
  assert main.main([*runs.SHORT, f'--workdir={finished}']) == 0
  assert 'Resumed at step 30' in caplog.text and 'top-1 accuracy' in caplog.text
