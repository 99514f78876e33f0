"""The recipe as it is printed: every row of the thesis' tables 4 and 5 builds, slot by slot."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import main, nets
from fass_jax.counts import class_counts
from fass_jax.recipe import build as recipe
from fass_jax.recipe import text, words
from fass_jax.types import Dataset
from tests import runs
from tests.test_rows import CONTROLS, THESIS


@pytest.fixture(scope='module')
def cifar100():
  """A set of CIFAR-100-LT's shape; a recipe reads its sizes, not its pixels."""
  counts = class_counts(500, 100, 100.0)
  labels = np.repeat(np.arange(100), counts).astype(np.int32)
  images = np.zeros((len(labels), 32, 32, 3), np.uint8)
  names = tuple(map(str, range(100)))
  return Dataset('cifar100_lt', images, labels, np.arange(len(labels)), images, labels, names)


@pytest.fixture(scope='module', autouse=True)
def traced_once():
  """Rows with the same network trace it once: a recipe reads the shapes of its parameters alone."""
  real = nets.build

  @functools.cache
  def build(*args, **how):
    net = real(*args, **how)

    @functools.cache
    def shapes(image_shape):
      return jax.eval_shape(lambda key: net.init(key, image_shape), jax.random.key(0))

    def init(key, image_shape):
      return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes(tuple(image_shape)))

    return net._replace(init=init)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(nets, 'build', build)
    yield


def lines_of(text):
  """Returns {slot: what fills it}."""
  pairs = [line.strip().split('  ', 1) for line in text.splitlines()]
  return {name: rest.strip() for name, rest in pairs}


# the published sizes of ResNet-32 with each head, at 100 classes
SIZES = {'ride': 783856, 'bcl': 669840, 'ldam': 469904}


@pytest.mark.parametrize('method', [*THESIS, *CONTROLS])
def test_every_row_of_the_thesis_is_described(cifar100, method):
  config = runs.config_of(f'--config=configs/cifar100_lt.py:{method}')
  said = lines_of(words.describe(recipe.build(config, cifar100), cifar100))
  names = set(method.split('+'))
  assert said['data'].startswith('cifar100_lt: 10847 images of 100 classes (500 to 5)')
  assert said['length'] == '200 epochs of 85 steps of 128 images'
  size = next((n for host, n in SIZES.items() if host in names), 470004)
  assert said['network'].endswith(f'{size} parameters')
  filled = {s.split()[1] for s in said if s.startswith(('view ', 'term ', 'signal ', 'stream '))}
  expected = {'natural'}
  expected |= {'pair', 'mixup', 'cutmix', 'fs', 'score'} if 'fass' in names else set()
  expected |= {'contrast1', 'contrast2', 'contrast'} if 'bcl' in names else set()
  expected |= {'levels'} if 'cuda' in names else set()
  expected |= {'ops'} if 'doda' in names else set()
  assert filled == expected
  late = 'share 0, from epoch 161 on 1'
  assert (late in said['term natural']) == bool(names & {'ldam', 'drw', 'ride'})
  assert ('class_uniform' in said['stream natural']) == ('cmo' in names)
  for op in ('cuda', 'doda'):
    assert (op in said['view natural'].replace(',', '').split()) == (op in names)


def test_schedules_are_told_in_epochs_that_count_from_1():
  assert text.over_time(0.8, 200) == '0.8'
  # CMO is on in the 0-based epochs 4 to 196
  pairs = ((0, 0.0), (0.02, 0.5), (0.985, 0.0))
  assert text.over_time(pairs, 200) == '0, from epoch 5 on 0.5, from epoch 198 on 0'
  assert text.over_time(((0, 1.0), (3, 0.1)), 10) == '1, from epoch 4 on 0.1'


def test_the_flag_prints_and_trains_nothing(capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert main.main(['--config=digits_lt.py:fass', '--recipe', '--config.terms.fs.weight=0.5']) == 0
  said = lines_of(capsys.readouterr().out.partition('\n')[2])
  assert said['term fs'] == 'ce of mixup, cutmix; weight 0.5'
  assert said['stream pair'].startswith('20 images a step, sampler effective_number')
  assert not list(tmp_path.iterdir())


def test_a_recipe_that_cannot_run_is_refused(capsys):
  assert main.main(['--config=digits_lt.py:fass', '--recipe', '--config.epochs=1']) == 1
  assert 'would never be active' in capsys.readouterr().err


def test_a_second_stage_says_where_it_comes_from(capsys):
  args = ['--config=digits_lt.py:ride_router', '--recipe', '--config.batch_size=64']
  assert main.main([*args, '--config.start.run=there']) == 0
  said = lines_of(capsys.readouterr().out.partition('\n')[2])
  assert said['start'] == 'parameters of there' and said['trains'] == 'head/router'
  assert said['term natural'].startswith('router of natural; weight 1; positive 100')
  assert said['optimiser'].endswith('then cosine')
  assert 'sampler class_balanced' in said['stream natural']
