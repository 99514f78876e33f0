"""Images decoded ahead of the step: the planned ones, the same after a stop, on all devices."""

import functools
import json
import threading
import zlib

import jax
import numpy as np
import pytest

from fass_jax.data.images import decode, streaming
from fass_jax.engine import devices, feed, passes
from fass_jax.engine.step import clock, plan_epoch
from fass_jax.engine.views import draw_partner, draw_streams, pixel_site
from fass_jax.report import metrics
from fass_jax.run import loop, resume, session
from fass_jax.run import seeds as together
from fass_jax.types import Squares, UserError
from tests import runs
from tests.data import photos

COUNTS = (14, 7, 3)
SIDE = 24


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Three classes of photos, long-tailed, and four test images of each."""
  path = tmp_path_factory.mktemp('images')
  photos.write(path / 'train', photos.images(COUNTS))
  photos.write(path / 'test', photos.images((4, 4, 4), 'test'))
  return path


@pytest.fixture(autouse=True)
def linear(monkeypatch):
  runs.use_linear_net(monkeypatch)


def config_of(folder, *args):
  return runs.config_of(
    '--config=folder.py:fass', f'--config.data.root={folder}', '--config.data.store=stream',
    f'--config.data.image_size={SIDE}', '--config.batch_size=8', '--config.epochs=3',
    f'--config.data.cache={folder / "cache"}', '--config.checkpoint.every_s=0',
    "--config.data.augment=('resized_crop','flip')", *args,
  )  # fmt: skip


def opened(folder, path, *args):
  s = session.open_session(config_of(folder, *args), path, lambda: '')
  (seed_run,) = resume.begin(s)
  if s.recipe.signals:  # a score matrix as after an epoch
    matrix = jax.random.dirichlet(jax.random.key(1), np.ones(3), (3,))
    score = seed_run.state.signals['score']._replace(matrix=matrix)
    seed_run = seed_run._replace(state=seed_run.state._replace(signals={'score': score}))
  return s, seed_run.state


def test_the_plan_is_what_the_step_would_draw(folder, tmp_path):
  s, state = opened(folder, tmp_path)
  step = s.recipe.steps_per_epoch  # the second epoch
  plan = plan_epoch(s.recipe, state.key, step, s.store, state.signals)
  assert {k: v[0].shape for k, v in plan.items()} == {
    'natural': (3, 8), 'pair': (3, 3), 'pair/partner': (3, 3)
  }  # fmt: skip
  bare = plan_epoch(s.recipe, state.key, step, s.store)
  for row in range(3):
    key, t = jax.random.fold_in(state.key, step + row), clock(s.recipe, step + row)
    batches = draw_streams(s.recipe, {'natural', 'pair'}, key, t, s.store, bare)
    for name, batch in batches.items():
      np.testing.assert_array_equal(plan[name][0][row], batch.index)
      np.testing.assert_array_equal(plan[name][1][row], batch.mask)
    partner = draw_partner(s.recipe, 'mixup', batches['pair'], key, state.signals, s.store)
    np.testing.assert_array_equal(plan['pair/partner'][0][row], partner)


def test_a_step_gets_the_crops_of_its_plan(folder, tmp_path):
  """Every pixel by hand: the image of the plan, the box of (seed, step, site, row)."""
  s, state = opened(folder, tmp_path)
  seed_run = session.SeedRun(0, tmp_path, state, None)
  plan = s.plan(*together.plan_arguments(s, seed_run))
  views = list(s.recipe.views)
  fed = feed.of_epoch(s.recipe, s.reader, s.cut, 5, plan, 0, 1, lambda row: views)
  loads = next(fed)  # step 1 of epoch 0: the first is done
  ops = s.recipe.views['natural'].augment_name
  assert set(loads) == {f'natural/own/{ops}', f'pair/own/{ops}', f'pair/partner/{ops}'}
  for site, key in ((f'natural/own/{ops}', 'natural'), (f'pair/partner/{ops}', 'pair/partner')):
    got, crc = streaming.finish(loads[site]), zlib.crc32(site.encode())
    for row, place in enumerate(np.asarray(plan[key][0])[1]):
      box = decode.random_box(np.random.default_rng((5, 1, crc, row)), (0.08, 1.0))
      want = decode.pillow(s.data.train_images[int(place)], box, SIDE, upright=True)
      np.testing.assert_array_equal(got[row], want)
  assert len(list(fed)) == 1


def test_a_run_stopped_inside_an_epoch_goes_on_bit_equal(folder, tmp_path):
  whole = loop.run(config_of(folder), tmp_path / 'whole')
  asked = []

  def stop():
    asked.append(1)
    return 'SIGTERM' if len(asked) > 4 else ''

  with pytest.raises(loop.Stopped, match='saved at step 4'):
    loop.run(config_of(folder), tmp_path / 'cut', stop)
  cut = loop.run(config_of(folder, '--config.data.workers=1'), tmp_path / 'cut')
  runs.assert_same_run(tmp_path / 'whole', tmp_path / 'cut')
  assert whole['last'] == cut['last'] and whole['last']['top1'] > 0
  lines = (tmp_path / 'whole' / 'metrics.jsonl').read_text().splitlines()
  assert all(0 <= json.loads(line)['input_bound'] <= 1 for line in lines)
  assert (tmp_path / 'whole' / 'class_counts.png').stat().st_size > 1000


def test_a_set_that_has_changed_is_not_gone_on_with(tmp_path):
  images = photos.write(tmp_path / 'images' / 'train', photos.images(COUNTS)).parent
  photos.write(images / 'test', photos.images((1, 1, 1), 'test'))
  loop.run(config_of(images), tmp_path / 'run')
  photos.write(images / 'train', {'n02/one_more.jpg': photos.jpeg(1)})
  with pytest.raises(UserError, match='24 images of 3 classes then, 25 of 3 now'):
    loop.run(config_of(images), tmp_path / 'run')


def test_a_whole_pass_sees_every_image_once_in_the_middle(folder, tmp_path):
  s, state = opened(folder, tmp_path)
  now = session.variables(state)

  def observe(acc, logits, labels, mask):
    return acc.at[labels].add(mask), acc.sum()

  fold = passes.make_fold(s.recipe, 5, share=s.cut.centre)
  counts = fold(metrics.count, metrics.init_counts(3, 15), now, s.reader, s.store.labels)
  middle = decode.centre(s.cut.centre)
  arrays = np.stack([
    decode.pillow(s.data.train_images[i], middle, SIDE, upright=True) for i in range(24)
  ])  # fmt: skip
  want = passes.make_fold(s.recipe, 24)(
    metrics.count, metrics.init_counts(3, 15), now, jax.numpy.asarray(arrays), s.store.labels
  )
  np.testing.assert_array_equal(counts.confusion, want.confusion)
  np.testing.assert_allclose(counts.nll, want.nll, rtol=1e-5)
  np.testing.assert_array_equal(counts.confusion.sum(1), COUNTS)


@pytest.mark.parametrize('method', ['cuda', 'cmo+fass', 'fass_pass'])
def test_other_methods_stream_too(folder, tmp_path, method):
  """Probes of classes, partners of other kinds, a pass over the set, several draws of an image."""
  args = []
  if method == 'fass_pass':
    method, args = 'fass', ['--config.signals.score.source=pass']
  config = config_of(folder, f'--config=folder.py:{method}', *args)
  state, rows = runs.in_memory(config, tmp_path)
  assert int(state.step) == 9 and np.isfinite([r['loss'] for r in rows]).all()
  if args:
    np.testing.assert_allclose(state.signals['score'].matrix.sum(1), 1, rtol=1e-5)


def test_squares_on_the_device_train_the_same_recipe(folder, tmp_path):
  args = '--config.data.store=resident', '--config.data.square=32'
  s, _ = opened(folder, tmp_path, *args)
  squares = s.store.images
  assert isinstance(squares, Squares) and squares.images.shape == (24, 32, 32, 3)
  seeds = [5000 * c + i for c, n in enumerate(COUNTS) for i in range(n)]
  aspects = sorted(w / h for h, w, _ in (photos.crop(seed).shape for seed in seeds))
  np.testing.assert_allclose(sorted(np.asarray(squares.aspect)), aspects, rtol=1e-6)
  assert s.reader is None and s.test[0].shape == (12, SIDE, SIDE, 3)
  state, rows = runs.in_memory(config_of(folder, *args), tmp_path / 'run')
  assert int(state.step) == 9 and 'input_bound' not in rows[0]
  small = '--config.data.square=16'
  words = 'square=16 is smaller than the input of the network, 24 pixels'
  with pytest.raises(UserError, match=words):
    opened(folder, tmp_path / 'small', '--config.data.store=resident', small)


def test_auto_goes_by_the_size_of_the_squares(folder, tmp_path):
  for limit, streamed in (('2.0', False), ('0.001', True)):
    args = '--config.data.store=auto', f'--config.data.resident_gb={limit}'
    s, _ = opened(folder, tmp_path / limit, *args)
    assert (s.reader is not None) == streamed


def test_an_image_that_goes_bad_is_named(folder, tmp_path):
  class Torn:
    def __len__(self):
      return 2

    def __getitem__(self, i):
      return photos.jpeg(i)[: 200 if i else None]

    def name(self, i):
      return f'pictures/{i}.jpg'

  reader = streaming.open_reader(Torn(), SIDE, 'pillow', streaming.threads(2))
  whole = functools.partial(streaming.begin, reader, box=lambda row: decode.whole, n=2)
  good = streaming.finish(whole(np.array([0]), rows=np.arange(2)))
  assert good[0].any() and not good[1].any()  # the filler is black
  with pytest.raises(UserError, match=r'pictures/1.jpg cannot be read \(Truncated'):
    streaming.finish(whole(np.array([0, 1]), rows=np.arange(2)))
  # rows of other processes are left alone
  assert streaming.finish(whole(np.array([1, 0]), rows=np.array([1])))[1].any()


def test_waiting_counts_only_while_the_device_is_idle():
  pool = streaming.threads(1)
  for idle, low, high in ((True, 0.1, 5.0), (False, 0.0, 0.0)):
    loaded = threading.Event()
    load = streaming.Pending(np.zeros(1), [pool.submit(loaded.wait)])
    threading.Timer(0.2, loaded.set).start()
    assert low <= feed.wait({'': load}, lambda idle=idle: idle) <= high


def test_bad_values_are_refused(folder, tmp_path):
  for key, value, text in (
    ('data.workers', -1, 'workers=-1 is negative'),
    ('data.decoder', 'jpg', "no 'jpg' for --config.data.decoder"),
    ('data.store', 'disk', "no 'disk' for --config.data.store"),
    ('data.centre', 0.0, r'centre=0.0 is not in \(0, 1\]'),
    ('data.crop_area', '(.5,.1)', 'crop_area=.* the smaller one first'),
    ('data.statistics', 'own', 'needs the images in memory'),
  ):
    with pytest.raises(UserError, match=text):
      opened(folder, tmp_path / key, f'--config.{key}={value}')


def test_sites_name_equal_pixels_once(folder, tmp_path):
  s, _ = opened(folder, tmp_path)
  found = feed.sites(s.recipe, ['natural', 'mixup', 'cutmix'])
  own = pixel_site(s.recipe.views['mixup'], 'own')
  assert own == pixel_site(s.recipe.views['cutmix'], 'own') and len(found) == 3
  assert all(at_random for _, at_random in found.values())
  assert devices.padded(3, s.recipe.where) == 3
