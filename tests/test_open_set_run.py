"""Runs with images of unknown classes: what is set aside, the figures of the end, the mistakes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from fass_jax import evaluate, main
from fass_jax.data import open_set
from fass_jax.data.load import load
from fass_jax.nets.base import apply
from fass_jax.recipe.images import normaliser_of
from fass_jax.types import UserError
from fass_jax.workdir.open import open_run
from tests import runs

ASIDE = ('--config.data.open_classes=2', '--config.data.held_out=0.1')


def data_of(*args):
  return load(runs.config_of('--config=digits_lt.py:ce', *args))


def test_every_fifth_of_ten_classes_is_set_aside():
  whole, known = data_of(), data_of('--config.data.open_classes=2', '--config.eval.threshold=0.5')
  assert open_set.unknown_classes(10, 2).tolist() == [4, 9]
  assert open_set.unknown_classes(100, 3).tolist() == [32, 65, 98]
  assert known.class_names == tuple(n for i, n in enumerate(whole.class_names) if i not in (4, 9))
  in_train = ~np.isin(whole.train_labels, (4, 9))
  np.testing.assert_array_equal(known.train_images, whole.train_images[in_train])
  np.testing.assert_array_equal(known.train_index, whole.train_index[in_train])
  names = np.asarray(whole.class_names)
  np.testing.assert_array_equal(
    np.asarray(known.class_names)[known.train_labels], names[whole.train_labels[in_train]]
  )
  in_test = ~np.isin(whole.test_labels, (4, 9))
  np.testing.assert_array_equal(known.test_images, whole.test_images[in_test])
  np.testing.assert_array_equal(known.open_images, whole.test_images[~in_test])
  assert known.test_labels.max() == 7 and whole.open_images is None


def softmax_of(run, images):
  x = normaliser_of(run.preparation)(jnp.asarray(images))
  z = apply(run.net, run.variables[0], x, False)[0].logits.mean(1)
  return np.asarray(jax.nn.softmax(z), np.float64)


@pytest.fixture(scope='module')
def linear():
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    runs.compile_quickly(patch, 0)
    yield


def test_a_run_ends_with_its_open_set_figures(linear, tmp_path, capsys):
  args = '--config=digits_lt.py:ce', '--config.epochs=3', *ASIDE
  assert main.main([*args, f'--workdir={tmp_path / "run"}']) == 0
  config = runs.config_of(*args)
  summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  assert 'classifier' not in summary  # it is the network's own
  run, data = open_run(str(tmp_path / 'run')), load(config)
  held, test, unknown = (
    softmax_of(run, x) for x in (data.held_images, data.test_images, data.open_images)
  )
  got, at = summary['last'], np.quantile(held.max(1), 0.01)
  assert got['open_threshold'] == pytest.approx(at, rel=1e-4)
  known = [1] * len(test) + [0] * len(unknown)
  want = roc_auc_score(known, np.concatenate([test.max(1), unknown.max(1)]))
  assert got['open_auroc'] == pytest.approx(want, abs=1e-4) and 0.5 < want < 1
  right, accepted = test.argmax(1) == data.test_labels, test.max(1) >= at
  intruders = (unknown.max(1) >= at).sum()
  tp = (right & accepted).sum()
  wrong = (accepted & ~right).sum() + intruders
  f = 2 * tp / (2 * tp + wrong + (~(right & accepted)).sum())
  assert got['open_f_textbook'] == pytest.approx(f, abs=2e-3)  # an image may lie at the threshold
  assert got['open_unknown_rejected'] == pytest.approx(1 - intruders / len(unknown), abs=0.02)
  assert got['open_oscr'] <= got['top1'] and got['open_images'] == 120

  # another classifier, another threshold, on the finished run
  args = [f'--workdir={tmp_path / "run"}', '--classifier=ncm', '--config.eval.threshold=0.3']
  assert evaluate.main(args) == 0
  assert 'unknown images rejected' in capsys.readouterr().out
  found = json.loads((tmp_path / 'run' / 'evaluation-ncm.json').read_text())
  assert found['metrics']['open_threshold'] == 0.3
  assert found['metrics']['open_auroc'] != got['open_auroc']
  assert 'open_auroc' not in found['as_trained']


def test_a_folder_as_open_set_of_a_finished_run(linear, tmp_path, capsys):
  config = runs.config_of('--config=digits_lt.py:ce', '--config.epochs=2')
  runs.in_memory(config, tmp_path / 'run', keep=True)
  (tmp_path / 'noise').mkdir()
  rng = np.random.default_rng(0)
  for i in range(6):
    pixels = rng.integers(0, 256, (20, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'noise' / f'{i}.png')
  here = [f'--workdir={tmp_path / "run"}', f'--config.data.open={tmp_path / "noise"}']
  assert evaluate.main([*here, '--config.eval.threshold=0.5']) == 0
  found = json.loads((tmp_path / 'run' / 'evaluation-trained.json').read_text())['metrics']
  assert found['open_images'] == 6 and 0 <= found['open_auroc'] <= 1
  capsys.readouterr()
  assert evaluate.main(here) == 1
  assert 'needs a threshold' in capsys.readouterr().err


@pytest.mark.parametrize(
  'args, words',
  [
    (['--config.data.open_classes=5', '--config.data.held_out=0.1'], 'below half of the 10'),
    (['--config.data.open_classes=2'], 'set --config.data.held_out=0.1, or give a number'),
    (['--config.data.open=nowhere'], 'is no folder'),
    (['--config.data.open=DIR'], 'has no image'),
    (['--config.data.open=DIR', '--config.data.open_classes=2'], 'drop one of them'),
  ],
)
def test_mistakes(args, words, tmp_path):
  with pytest.raises(UserError, match=words):
    data_of(*(a.replace('DIR', str(tmp_path)) for a in args))


def test_a_folder_with_the_name_of_a_class_is_refused(tmp_path):
  (tmp_path / 'a' / '3').mkdir(parents=True)
  Image.new('RGB', (8, 8)).save(tmp_path / 'a' / '3' / 'x.png')
  with pytest.raises(UserError, match="has a folder '3', which is a class of the training set"):
    data_of(f'--config.data.open={tmp_path / "a"}')
