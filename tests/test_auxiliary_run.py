"""Auxiliary classes in a run: trained with the others, and masked wherever classes are tested."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fass_jax import evaluate, predict
from fass_jax.classifiers.ncm import ncm_logits
from fass_jax.data.load import load
from fass_jax.engine import passes
from fass_jax.nets.base import apply, mean_logits, of_tested
from fass_jax.recipe.build import build
from fass_jax.report import metrics
from fass_jax.run import loop, resume, session
from fass_jax.types import Outputs, UserError
from fass_jax.workdir.open import open_run
from tests import runs, tiny
from tests.losses import oracle

T, ALL = 7, 10
ARGS = ['--config=digits_lt.py:extrapolate', *runs.SHORT]


@pytest.fixture(scope='module', autouse=True)
def small():
  with pytest.MonkeyPatch.context() as patch:
    tiny.use_tiny_net(patch)
    runs.compile_quickly(patch, 0)
    runs.draw_nothing(patch)
    yield


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A run with 7, 8 and 9 as auxiliary classes: folder, data, variables."""
  path = tmp_path_factory.mktemp('extrapolate') / 'run'
  loop.run(runs.config_of(*ARGS), path)
  return path, load(runs.config_of(*ARGS)), open_run(str(path)).variables[0]


def outputs(finished, images):
  """Returns the network's outputs for all classes that it was trained on."""
  path, data, variables = finished
  recipe = build(runs.config_of(*ARGS), data)
  return apply(recipe.net, variables, recipe.normalise(jnp.asarray(images)), False)[0]


def test_masked_logits_are_the_sliced_ones():
  """-inf for the auxiliary classes gives the same probabilities, prediction and loss."""
  z = np.random.default_rng(0).normal(size=(20, 3, ALL)).astype(np.float32)
  sliced = mean_logits(of_tested(Outputs(jnp.asarray(z), jnp.zeros((20, 1))), T))
  masked = z.mean(1)
  masked[:, T:] = -np.inf
  p = jax.nn.softmax(jnp.asarray(masked))
  np.testing.assert_allclose(p[:, :T], jax.nn.softmax(sliced), rtol=1e-5)
  assert (p[:, T:] == 0).all() and (masked.argmax(1) == np.asarray(sliced).argmax(1)).all()


def test_the_head_has_all_classes_and_the_figures_are_of_the_tested_ones(finished):
  path, data, variables = finished
  assert variables['params']['head']['linear']['kernel'].shape[-1] == ALL
  z = np.asarray(outputs(finished, data.test_images).logits[:, 0])
  assert (z.argmax(1) >= T).any()  # without the mask some answers would be auxiliary
  z, y = z[:, :T], data.test_labels
  last = json.loads((path / 'summary.json').read_text())['last']
  hits = z.argmax(1) == y
  assert len(last['per_class']) == T and abs(last['top1'] - hits.mean()) < 1e-6
  np.testing.assert_allclose(last['per_class'], [hits[y == c].mean() for c in range(T)], rtol=1e-6)
  np.testing.assert_allclose(last['nll'], oracle.ce(z, y).mean(), rtol=1e-4)
  groups = metrics.shot_groups(data.counts[:T])
  for name, members in groups.items():
    mine = np.asarray(last['per_class'])[members]
    assert (last[name] is None) == (not mine.size) and (not mine.size or last[name] == mine.mean())


def test_predict_names_tested_classes_alone(finished, tmp_path, capsys):
  path, data, _ = finished
  shown = range(0, 420, 30)
  for i in shown:
    Image.fromarray(data.test_images[i]).save(tmp_path / f'{i:03}.png')
  assert predict.main([f'--workdir={path}', '--csv=-', '--top=99', str(tmp_path)]) == 0
  out = capsys.readouterr()
  rows = list(csv.DictReader(out.out.splitlines()))
  assert '7 classes' in out.err and {row['class'] for row in rows} == set('0123456')
  z = np.asarray(outputs(finished, data.test_images[shown]).logits[:, 0, :T])
  got = np.zeros((len(shown), T))
  for i, row in enumerate(rows):
    got[i // T, int(row['class'])] = float(row['probability'])
  np.testing.assert_allclose(got, oracle.softmax(z), rtol=1e-3, atol=1e-6)


def scores_of(finished, name):
  """Returns the scores of a classifier for the test images, from the formulas."""
  _, data, variables = finished
  outs = outputs(finished, data.test_images)
  z, x = np.asarray(outs.logits[:, 0, :T]), np.asarray(outs.features, np.float64)
  if name == 'trained':
    return z
  if name == 'post_hoc':  # the loss has taken the prior out; to that of training
    return z + np.log(data.counts[:T])
  if name == 'tau_norm':
    w = np.asarray(variables['params']['head']['linear']['kernel'], np.float64)[:, :T]
    return x @ (w / np.linalg.norm(w, axis=0))
  own = data.train_labels < T
  features = outputs(finished, data.train_images[own]).features
  labels = data.train_labels[own]
  means = jnp.stack([features[labels == c].mean(0) for c in range(T)])
  return np.asarray(ncm_logits(outs.features, jnp.zeros(x.shape[1]), means, 'un'))


@pytest.mark.parametrize(
  ('name', 'flags'),
  [
    ('trained', []),
    ('tau_norm', ['--tau=1']),
    ('ncm', ['--ncm=un']),
    ('post_hoc', ['--prior=train']),
  ],
)
def test_classifiers_are_of_the_tested_classes(name, flags, finished, capsys):
  path, data, _ = finished
  assert evaluate.main([f'--workdir={path}', f'--classifier={name}', *flags, '--shifts']) == 0
  found = json.loads((path / f'evaluation-{name}.json').read_text())
  hits = scores_of(finished, name).argmax(1) == data.test_labels
  want = [hits[data.test_labels == c].mean() for c in range(T)]
  np.testing.assert_allclose(found['metrics']['per_class'], want, atol=1e-6)
  assert len(found['as_trained']['per_class']) == T and found['shifts']['as_it_is']['top1']
  capsys.readouterr()


def test_a_pass_over_the_training_set_leaves_auxiliary_images_out(finished):
  _, data, variables = finished
  recipe = build(runs.config_of(*ARGS), data)
  images, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)

  def observe(acc, logits, labels, mask):
    seen, shape = acc
    return seen + (jax.nn.one_hot(labels, ALL) * mask[:, None]).sum(0), shape + 0 * logits[0].sum()

  acc = jnp.zeros(ALL), jnp.zeros(())
  for num_tested, want in ((T, [*data.counts[:T], 0, 0, 0]), (None, data.counts)):
    fold = passes.make_fold(recipe, 100, num_tested=num_tested)
    np.testing.assert_array_equal(fold(observe, acc, variables, images, labels)[0], want)


def test_held_out_images_choose_and_calibrate_on_tested_classes(tmp_path):
  args = [*ARGS, '--config.data.held_out=0.3', '--config.classifier=tau_norm',
          '--config.classifier_args.calibrate=True']  # fmt: skip
  summary = loop.run(runs.config_of(*args), tmp_path)
  assert len(summary['last']['per_class']) == T and summary['fitted']['last']['temperature'] > 0


def test_a_run_goes_on_only_with_the_same_neighbours(tmp_path):
  near = tmp_path / 'near.csv'
  near.write_text('target,neighbour\n1,7\n3,8\n4,9\n')
  config = runs.config_of(*ARGS, f'--config.data.neighbours={near}')
  s = session.open_session(config, tmp_path / 'run', lambda: '')
  with s.manager:
    resume.save(s, resume.begin(s))
  near.write_text('target,neighbour\n2,7\n3,8\n4,9\n')
  s = session.open_session(config, tmp_path / 'run', lambda: '')
  with s.manager, pytest.raises(UserError, match='The neighbours have changed'):
    resume.begin(s)


def test_the_loss_without_auxiliary_classes_is_refused():
  for sets in (['--config.loss=neighbour_silencing'], []):
    args = ['--config=digits_lt.py:ce' if sets else ARGS[0], *sets]
    args += [] if sets else ['--config.data.auxiliary_images=0']
    config = runs.config_of(*args)
    with pytest.raises(UserError, match='needs auxiliary classes: give --config.data.auxiliary'):
      build(config, load(config))


def test_the_implied_prior_is_that_of_the_tested_classes():
  """CE beside auxiliary classes implies the training shares of the tested ones."""
  args = ['--config=digits_lt.py:extrapolate', '--config.loss=ce']
  config = runs.config_of(*args)
  data = load(config)
  from fass_jax.recipe.prior import implied

  n = data.counts[:T]
  np.testing.assert_allclose(implied(config, data.counts, T).prior, n / n.sum(), rtol=1e-12)
  silent = implied(runs.config_of(ARGS[0]), data.counts, T)
  np.testing.assert_allclose(silent.prior, np.full(T, 1 / T), rtol=1e-12)
  assert any('neighbour_silencing' in guess for guess in silent.guesses)
