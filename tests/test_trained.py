"""A run read from its work directory: the image as evaluation shows it, seeds, best, old runs."""

import io
import json
import pathlib
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fass_jax.data.images import streaming
from fass_jax.data.sets.digits import load_digits
from fass_jax.engine import feed, predictor
from fass_jax.run import resume, session
from fass_jax.types import UserError
from fass_jax.workdir import checkpoint
from fass_jax.workdir.open import open_run
from tests import runs
from tests.data import photos
from tests.losses import oracle


@pytest.fixture(autouse=True)
def linear(monkeypatch):
  runs.use_linear_net(monkeypatch)


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
  """Seeds 3 and 4 of plain training with the linear net and statistics of its own."""
  path = tmp_path_factory.mktemp('pair')
  with pytest.MonkeyPatch.context() as patch:
    runs.use_linear_net(patch)
    runs.in_memory(runs.config_of(
      '--config=digits_lt.py:ce', '--config.epochs=2', '--config.seed=3', '--config.seeds=2',
      '--config.data.statistics=own'), path, keep=True)  # fmt: skip
  return path


def shown(run, paths, size=3, decoder='pillow'):
  with ThreadPoolExecutor(2) as pool:
    return list(predictor.load(run, [str(p) for p in paths], size, decoder, pool))


def test_seeds_are_averaged_and_own_statistics_kept(pair):
  """Against NumPy: the mean of the softmax of (x / 255 - mean) / std times w of each seed."""
  run, data = open_run(str(pair)), load_digits()
  pixels = data.train_images.reshape(-1, 3) / 255.0
  np.testing.assert_allclose(run.preparation['mean'], pixels.mean(0), rtol=1e-12)
  np.testing.assert_allclose(run.preparation['std'], pixels.std(0), rtol=1e-12)
  assert run.counts == tuple(np.bincount(data.train_labels)) and run.at == 'step 12'
  x = ((data.test_images[:5] / 255.0 - pixels.mean(0)) / pixels.std(0)).reshape(5, -1)
  each = [np.float64(v['params']['w']) for v in checkpoint.variables(pair / 'checkpoints')]
  assert len(each) == 2 and not np.array_equal(*each)
  want = np.mean([oracle.softmax(x @ w) for w in each], axis=0)
  got = predictor.predictor(run, 8)(data.test_images[:5])
  assert got.shape == (5, 10)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
  # a prior moves each seed before the mean
  old, new = np.asarray(run.counts), np.arange(10)
  moved = [oracle.softmax(x @ w + np.log(np.maximum(new, 1e-30) / old)) for w in each]
  got = predictor.predictor(run, 8, (old / old.sum(), new / new.sum()))(data.test_images[:5])
  np.testing.assert_allclose(got, np.mean(moved, axis=0), rtol=1e-4, atol=1e-6)
  assert (got[:, 0] == 0).all()


def test_the_best_epoch(pair):
  meta = checkpoint.meta(pair / 'checkpoints')
  run = open_run(str(pair), 'best')
  assert run.at == 'epoch ' + ', '.join(str(x['best']['epoch']) for x in meta['lanes'])
  for a, b in zip(run.variables, checkpoint.variables(pair / 'checkpoints', 'best')):
    np.testing.assert_array_equal(a['params']['w'], b['params']['w'])


def turned(encoded):
  """Returns a JPEG whose EXIF says that it lies on its side."""
  image, out = Image.open(io.BytesIO(encoded)), io.BytesIO()
  exif = image.getexif()
  exif[0x0112] = 6
  image.save(out, 'JPEG', exif=exif)
  return out.getvalue()


@pytest.fixture(params=['resident', 'stream'])
def of_folder(request, tmp_path):
  """A session over a folder of photos, saved before its first step."""
  files = {
    f'{part}/{c}/{i}.jpg': photos.jpeg(100 * n + 10 * i + ord(c))
    for n, part in enumerate(('train', 'val')) for c in 'ab' for i in range(3)
  }  # fmt: skip
  files = {name: turned(data) if '1' in name else data for name, data in files.items()}
  root = photos.write(tmp_path / 'photos', files)
  config = photos.config_of(
    'folder', tmp_path, root=root, image_size=12, store=request.param, square=20
  )
  config.data.augment, config.batch_size = ('resized_crop',), 4
  s = session.open_session(config, tmp_path / 'run', lambda: '')
  with s.manager:
    resume.save(s, resume.begin(s))
    s.manager.wait_until_finished()
  return s


def test_a_file_is_shown_as_evaluation_shows_it(of_folder, tmp_path):
  s = of_folder
  run = open_run(str(s.workdir))
  assert run.classes == ('a', 'b') and run.counts == (3, 3)
  assert (run.preparation['side'], run.preparation['centre'], run.preparation['upright']) == (
    12,
    0.875,
    True,
  )
  images = s.test[0]
  if isinstance(images, streaming.Reader):
    (images,) = feed.in_order(images, 6, s.cut.centre, s.recipe.where)
  paths = sorted((tmp_path / 'photos' / 'val').glob('*/*.jpg'))
  batches = shown(run, paths, size=4)
  assert [len(b.paths) for b in batches] == [4, 2]
  np.testing.assert_array_equal(np.concatenate([b.images for b in batches]), images)
  # a photo that lies on its side is turned
  lying = run._replace(preparation={**run.preparation, 'upright': False})
  other = np.concatenate([b.images for b in shown(lying, paths)])
  assert [(a != b).any() for a, b in zip(images, other)] == [False, True, False] * 2


def test_broken_files_are_named_and_the_others_shown(pair, tmp_path):
  run = open_run(str(pair))
  image = load_digits().test_images[0]
  paths = [tmp_path / name for name in ('a.png', 'bad.png', 'b.png', 'gone.png', 'c.png')]
  for path in paths[::2]:
    Image.fromarray(image).save(path)
  paths[1].write_bytes(paths[0].read_bytes()[:60])
  first, second = shown(run, paths)
  assert first.paths == [str(paths[0]), str(paths[2])] and second.paths == [str(paths[4])]
  assert [path for path, _ in first.broken + second.broken] == [str(paths[1]), str(paths[3])]
  assert 'No such file' in second.broken[0][1] and 'truncated' in first.broken[0][1]
  np.testing.assert_array_equal(first.images, [image, image])
  (only,) = shown(run, [paths[1]])
  assert only.images.shape == (0, 8, 8, 3)


# what cannot be


def edited(pair, tmp_path, edit):
  """Copies a work directory and changes the JSON of its newest checkpoint."""
  path = tmp_path / 'run'
  shutil.copytree(pair, path)
  for file in (path / 'checkpoints').glob('step_*/meta/metadata'):
    meta = json.loads(file.read_text())
    edit(meta)
    file.write_text(json.dumps(meta))
  return str(path)


def test_a_checkpoint_from_before_the_notes(pair, tmp_path):
  path = edited(pair, tmp_path, lambda meta: meta['notes'].pop('mean'))
  with pytest.raises(UserError, match='continue that run until it saves again, or train again'):
    open_run(path)


@pytest.mark.parametrize(
  ('how', 'words'),
  [
    ({}, ''),
    ({'epochs': 3}, 'is not finished: step 12 of 18.'),
    ({'epochs': 3, 'last_batch': 'drop'}, 'is not finished: step 12 of 15.'),
  ],
)
def test_a_run_that_is_not_over_is_said(pair, tmp_path, caplog, how, words):
  path = edited(pair, tmp_path, lambda meta: None)
  file = pathlib.Path(path) / 'config.json'
  file.write_text(json.dumps(json.loads(file.read_text()) | how))
  for which in ('last', 'best'):
    open_run(path, which)
  said = [r.getMessage() for r in caplog.records if r.name == 'fass_jax']
  assert len(said) == bool(words) and ''.join(said).endswith(words)


def test_no_epoch_is_the_best_yet(pair, tmp_path):
  path = edited(pair, tmp_path, lambda meta: meta['lanes'][1].update(best=None, last={}))
  assert open_run(path).at == 'step 12'
  with pytest.raises(UserError, match='use --which=last'):
    open_run(path, 'best')


def test_a_config_from_before_a_key_has_its_default(pair, tmp_path):
  path = edited(pair, tmp_path, lambda meta: None)
  file = pathlib.Path(path) / 'config.json'
  config = json.loads(file.read_text())
  del config['loss_args'], config['net']['router'], config['reweight']
  file.write_text(json.dumps(config))
  assert open_run(path).config.loss_args.logit_adjustment.tau == 1.0


def test_no_work_directory_and_no_checkpoint(pair, tmp_path):
  with pytest.raises(UserError, match='is not the work directory .*config.json cannot be read'):
    open_run(str(tmp_path))
  (tmp_path / 'stages').mkdir()
  with pytest.raises(UserError, match='has not reached its last stage yet; start that run again'):
    open_run(str(tmp_path))
  (tmp_path / 'stages').rmdir()
  shutil.copy(pair / 'config.json', tmp_path)
  with pytest.raises(UserError, match='has no readable checkpoint'):
    open_run(str(tmp_path))
  assert [p.name for p in tmp_path.iterdir()] == ['config.json']  # nothing was written
