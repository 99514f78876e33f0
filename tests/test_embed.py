"""The command that draws features: its files hold the network's features, its mistakes are told."""

import csv
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fass_jax import embed
from fass_jax.data.load import load
from fass_jax.nets.base import apply
from fass_jax.recipe.images import normaliser_of
from fass_jax.report import embedding, scatter
from fass_jax.workdir.open import open_run
from tests import runs


@pytest.fixture(scope='module')
def linear():
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    runs.compile_quickly(patch, 0)
    yield


@pytest.fixture(scope='module')
def two(linear, tmp_path_factory):
  """Two short runs of a linear network."""
  folder = tmp_path_factory.mktemp('embed')
  for name in ('ce', 'ens'):
    config = runs.config_of(f'--config=digits_lt.py:{name}', '--config.epochs=2')
    runs.in_memory(config, folder / name, keep=True)
  return folder / 'ce', folder / 'ens'


def call(capsys, *args):
  code = embed.main([*map(str, args)])
  out, err = capsys.readouterr()
  assert 'Traceback' not in err
  return code, out, ''.join(x for x in err.splitlines() if x.startswith('fass_jax: '))


def test_two_runs_side_by_side(two, tmp_path, capsys):
  out = tmp_path / 'pictures'
  args = [f'--workdir={path}' for path in two] + [f'--out={out}', '--points=120', '--perplexity=9']
  code, said, err = call(capsys, *args)
  assert code == 0, err
  names = {'features-1.npz', 'features-1.csv', 'features-2.npz', 'features-2.csv'}
  assert {p.name for p in out.iterdir()} == names | {'tsne.png', 'pca.png'}
  for name in ('tsne', 'pca'):
    assert f'{name}.png' in said
    pixels = np.asarray(Image.open(out / f'{name}.png').convert('RGB'))
    assert pixels.shape[1] > pixels.shape[0] > 900 and len(np.unique(pixels.reshape(-1, 3), 0)) > 20
  data = load(open_run(str(two[0])).config)
  for k, path in enumerate(two, 1):
    found = np.load(out / f'features-{k}.npz')
    index = found['index']
    assert len(index) == 120 and (np.diff(index) > 0).all()
    np.testing.assert_array_equal(found['labels'], data.test_labels[index])
    assert set(np.bincount(found['labels'], minlength=10)) == {12}  # 60 test images of each class
    run = open_run(str(path))
    x = normaliser_of(run.preparation)(jnp.asarray(data.test_images[index]))
    want = apply(run.net, run.variables[0], x, False)[0].features
    np.testing.assert_allclose(found['features'], want, rtol=1e-4, atol=1e-5)
    # the best plane: its spread is that of the two largest singular values
    centred = found['features'] - found['features'].mean(0)
    largest = np.linalg.svd(centred, compute_uv=False)[:2]
    np.testing.assert_allclose(np.linalg.norm(found['pca'], axis=0), largest, rtol=1e-3)
    with open(out / f'features-{k}.csv') as file:
      rows = list(csv.DictReader(file))
    assert len(rows) == 120 and rows[5]['class'] == data.class_names[found['labels'][5]]
    np.testing.assert_allclose(float(rows[5]['tsne_x']), found['tsne'][5, 0], rtol=1e-4)
    np.testing.assert_allclose(float(rows[5]['f3']), found['features'][5, 3], rtol=1e-4, atol=1e-6)


def test_a_seed_gives_the_same_plane():
  x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
  one, other = (embedding.project(x, 8.0, seed) for seed in (3, 3))
  for name in ('tsne', 'pca'):
    np.testing.assert_array_equal(one[name], other[name])


def test_the_points_are_a_part_of_each_class():
  labels = np.repeat([0, 1, 2], [60, 30, 2])
  index = embedding.choose(labels, 46, 0)
  assert np.bincount(labels[index]).tolist() == [30, 15, 1]
  np.testing.assert_array_equal(embedding.choose(labels, 100, 0), np.arange(92))
  # more classes than points: not always the first ones
  few = embedding.choose(np.arange(50), 20, 0)
  assert len(set(few)) == 20 and max(few) > 40


def test_of_many_classes_a_picture_names_the_most_and_the_least_frequent():
  counts = np.arange(100, 0, -1)
  assert scatter.named_classes(counts) == [0, 1, 2, 3, 4, 95, 96, 97, 98, 99]
  assert scatter.named_classes(counts[:10]) == list(range(10))


@pytest.mark.parametrize(
  'args, words',
  [
    ([], '--workdir is there 0 times; give it once'),
    (['--workdir=a', '--workdir=b', '--workdir=c', '--out=o'], 'there 3 times'),
    (['--workdir=a'], 'give --out=DIR'),
    (['--workdir=a', '--out=o', '--points=1'], '--points=1 is not a whole number of 2 or more'),
    (['--workdir=a', '--out=o', '--perplexity=x'], '--perplexity=x is not a number'),
    (['--workdir=a', '--out=o', '--config.epochs=3'], 'would make this another run'),
    (['--workdir=a', '--out=o', 'b'], "'b' is no flag"),
    (['--workdir=nowhere', '--out=o'], 'is not the work directory of a run'),
  ],
)
def test_mistakes_of_the_command(args, words, capsys):
  code, _, err = call(capsys, *args)
  assert code == 1 and words in err


def test_mistakes_of_what_it_names(two, tmp_path, capsys):
  file = tmp_path / 'file'
  file.write_text('')
  code, _, err = call(capsys, f'--workdir={two[0]}', f'--out={file}')
  assert code == 1 and 'is a file; give a folder' in err
  code, _, err = call(
    capsys, f'--workdir={two[0]}', f'--out={tmp_path}', '--points=20', '--perplexity=20'
  )
  assert code == 1 and 'below the number of points, 20' in err


def test_a_run_that_is_not_finished_is_refused(two, tmp_path, capsys):
  path = shutil.copytree(two[0], tmp_path / 'half')
  file = path / 'config.json'
  config = json.loads(file.read_text())
  file.write_text(json.dumps(config | {'epochs': 2 * config['epochs']}))
  code, _, err = call(capsys, f'--workdir={two[1]}', f'--workdir={path}', f'--out={tmp_path / "o"}')
  assert code == 1 and f'{path} is not finished, it is at step 12' in err
  assert not (tmp_path / 'o').exists()


def test_a_folder_that_cannot_be_made_is_said_before_the_pass(two, tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  code, out, err = call(capsys, f'--workdir={two[0]}', f'--out={tmp_path / "file" / "o"}')
  assert code == 1 and out == '' and 'cannot be written (Not a directory)' in err


def test_points_without_a_plane():
  with pytest.raises(embedding.UserError, match='all 9 points the same features'):
    embedding.project(np.ones((9, 3), np.float32), 3.0, 0)
  with pytest.raises(embedding.UserError, match='not finite'):
    embedding.project(np.full((9, 3), np.nan, np.float32), 3.0, 0)
  line = np.arange(9, dtype=np.float32)[:, None]
  found = embedding.project(line, 3.0, 0)
  np.testing.assert_allclose(np.abs(found['pca'][:, 0]), np.abs(line[:, 0] - 4), atol=1e-5)
  assert np.isfinite(found['tsne']).all()


def test_runs_with_other_classes_are_refused(two, tmp_path):
  run = open_run(str(two[0]))
  other = run._replace(classes=tuple('abcdefghij'))
  with pytest.raises(embedding.UserError, match='has other classes than --workdir=a'):
    embedding.embed([run, other], ['a', 'b'], embedding.How(50, 5.0, 0), tmp_path)
