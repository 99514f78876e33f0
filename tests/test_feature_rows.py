"""Data sets whose examples are rows of numbers, through the same step, passes and checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.augment.chain import LOOK, OPS
from fass_jax.augment.mixes import MIXES
from fass_jax.config import base_config, with_methods
from fass_jax.data import load
from fass_jax.nets.base import BACKBONES
from fass_jax.nets.inputs import input_of
from fass_jax.recipe import images, words
from fass_jax.recipe.build import build
from fass_jax.types import Column, Dataset, UserError
from tests import bench, runs

COUNTS, WIDTH = (60, 20, 8), 5
SPREAD, SHIFT = np.array([1, 10, 1, 1e3, 0]), np.array([0, 0, 5, 1e4, 3])  # the last is constant


def rows_of(rng, labels):
  """Returns normal rows; the class moves the first three numbers."""
  x = rng.normal(size=(len(labels), WIDTH)) * SPREAD + SHIFT
  return (x + 3 * labels[:, None] * SPREAD * [1, 1, 1, 0, 0]).astype(np.float32)


def made(columns=()):
  """Returns a data set of rows: three classes, five numbers."""
  rng = np.random.default_rng(0)
  train, test = (np.repeat(np.arange(3), n).astype(np.int32) for n in (COUNTS, 20))
  x, y = rows_of(rng, train), rows_of(rng, test)
  index = np.arange(len(train), dtype=np.int32)
  return Dataset('made', x, train, index, y, test, ('a', 'b', 'c'), columns=columns)


def config_of(method='ce', **sets):
  config = base_config('made')
  config.net.update(backbone='mlp', hidden=(16, 8))
  config.data.update(augment=(), statistics='own')
  config.update(epochs=3, batch_size=32)
  config.checkpoint.every_s = 0.0
  with_methods(config, method)
  config.update_from_flattened_dict(sets)
  return config


@pytest.fixture(autouse=True)
def there(monkeypatch):
  """Makes `load` find the rows as the data set 'made'."""
  monkeypatch.setitem(load.DATASETS, 'made', lambda config: made())


def test_rows_are_standardised_by_the_training_rows():
  data = made()
  normalise = images.build_normaliser(config_of(), data)
  x = data.train_images.astype(np.float64)
  std = np.where(np.arange(WIDTH) == 4, 1.0, x.std(0))
  np.testing.assert_allclose(normalise(data.test_images), (data.test_images - x.mean(0)) / std,
                             rtol=1e-5, atol=1e-5)  # fmt: skip
  # a mean that is far larger than the spread costs no digits: the differences are exact in float32
  far = data._replace(train_images=np.float32([[2.0**23 + i] for i in range(5)]))
  np.testing.assert_allclose(
    images.build_normaliser(config_of(), far)(far.train_images)[:, 0],
    np.arange(-2, 3) / np.sqrt(2), rtol=1e-6,
  )  # fmt: skip


def test_zeros_and_ones_of_words_stay_as_they_are():
  columns = Column('n'), Column('m'), Column('word', ('x', 'y')), Column('l')
  normalise = images.build_normaliser(config_of(), made(columns))
  assert normalise.mean[2:4] == (0, 0) and normalise.std[2:4] == (1, 1)
  assert normalise.mean[0] != 0 and normalise.std[1] > 5 and normalise.unit == 1


def test_pixels_are_normalised_as_before():
  """Bit for bit x / 255 s - m / s, and notes that are older than the unit mean pixels."""
  x = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
  mean, std = np.array((0.4914, 0.4822, 0.4465)), np.array((0.2023, 0.1994, 0.2010))
  old = images.normaliser_of({'mean': mean, 'std': std})
  want = np.float32(x) * np.float32(1 / (255 * std)) + np.float32(-mean / std)
  np.testing.assert_array_equal(old(jnp.asarray(x)), want)


def test_a_recipe_speaks_of_rows():
  text = words.resolve(config_of('fass_mixup'))
  assert 'made: 88 rows of 3 classes (60 to 8), 5 numbers a row' in text
  assert 'mlp, hidden (16, 8), linear head' in text and '3 epochs of 3 steps of 32 rows' in text
  assert '32 rows a step' in text and 'image' not in text


@pytest.mark.parametrize('op', sorted(OPS))
def test_every_op_is_refused_on_rows(op):
  teacher = 'w' if op in LOOK else ''  # an op that looks is refused without a teacher too
  config = config_of(**{'data.augment': (op,), 'teacher.run': teacher})
  with pytest.raises(UserError, match=f'data.augment has {op}, which needs images, but .* rows'):
    build(config, made())


@pytest.mark.parametrize('mix', sorted(MIXES))
def test_mixes_of_pixels_are_refused_on_rows(mix):
  config = config_of('mixup', **{'views.natural.mix': mix})
  if not MIXES[mix].of_pixels:
    assert build(config, made()).views['natural'].mix is MIXES[mix].apply
    return
  with pytest.raises(UserError, match=f'mix={mix} needs images, but .* rows of 5 .* use mixup or'):
    build(config, made())


@pytest.mark.parametrize('backbone', sorted(BACKBONES))
def test_a_backbone_of_the_other_kind_is_refused(backbone):
  config, data = config_of(**{'net.backbone': backbone}), made()
  if input_of(backbone).axes == 1:
    assert build(config, data).net
    config = runs.config_of('--config=digits_lt.py:ce', f'--config.net.backbone={backbone}')
    data = bench.digits()
  with pytest.raises(UserError, match=f'={backbone} takes .*; use --config.net.backbone='):
    build(config, data)


def test_statistics_of_another_length_and_a_size_are_refused():
  config = config_of(**{'data.statistics': 'fixed'})
  with pytest.raises(UserError, match='3 and 3 numbers, but a row of made has 5'):
    build(config, made())
  config.data.update(mean=(0.0,) * 5, std=(2.0,) * 5)
  x = made().train_images
  np.testing.assert_array_equal(build(config, made()).normalise(x), x / 2)
  with pytest.raises(UserError, match='image_size=8 has no effect on made'):
    load.load(config_of(**{'data.image_size': 8}))


def test_a_run_on_rows_learns_and_resumes(tmp_path, monkeypatch):
  """The real loop: partners by scores, MixUp, held-out rows, a checkpoint inside an epoch."""
  from fass_jax.run import loop

  runs.draw_nothing(monkeypatch)
  config = config_of('fass_mixup', **{'data.held_out': 0.2, 'epochs': 6})
  config.checkpoint.every_steps = 2
  whole = loop.run(config, tmp_path / 'whole')
  assert whole['last']['top1'] > 0.8  # 1/3 by chance
  with monkeypatch.context() as patch:
    runs.die_at(patch, 8)
    with pytest.raises(runs.Killed):
      loop.run(config, tmp_path / 'cut')
  loop.run(config, tmp_path / 'cut')
  runs.assert_same_run(tmp_path / 'whole', tmp_path / 'cut')


@pytest.mark.parametrize('experts', [1, 3])
def test_an_mlp_by_hand(experts):
  """relu(bn(x W)) per layer, the last two of each expert its own, with 3/4 of the width."""
  config = config_of(**{'net.hidden': (8, 8, 4), 'net.experts': experts})
  net = build(config, made()).net
  variables = net.init(jax.random.key(0), (WIDTH,))
  body, x = variables['params']['body'], np.float64(rows_of(np.random.default_rng(1), np.arange(3)))
  x = x / SPREAD.clip(1)

  def through(x, names):
    for name in names:
      # running statistics as they begin: mean 0, variance 1
      x = np.maximum(x @ np.float64(body[name]['kernel']) / np.sqrt(1 + 1e-5), 0)
    return x

  if experts == 1:
    want = through(x, ['dense0', 'dense1', 'dense2'])
  else:
    x_ = through(x, ['dense0'])
    each = [through(x_, [f'expert{e}_dense1', f'expert{e}_dense2']) for e in range(3)]
    want = np.stack(each, axis=1)
    assert want.shape == (3, 3, 3)
  got = net.embed(variables, jnp.asarray(x, jnp.float32), False)[0]
  np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
  assert net.maps is None
