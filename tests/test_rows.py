"""The rows of the thesis' tables 4 and 5: late steps of each, its real step's shapes, real runs."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fass_jax.counts import class_counts
from fass_jax.recipe.build import build
from fass_jax.types import Dataset
from tests import bench, pieces, runs

# as the thesis prints them
THESIS = [
  'ce', 'cmo', 'cuda', 'doda', 'cmo+doda', 'fass', 'cmo+cuda+fass', 'ldam', 'ldam+cuda',
  'ldam+doda', 'ldam+fass', 'ldam+cmo+cuda+fass', 'bcl', 'bcl+cuda', 'bcl+doda', 'bcl+fass',
  'ride', 'ride+cmo', 'ride+cuda', 'ride+doda', 'ride+fass', 'ride+cmo+cuda+fass', 'drw+fass',
]  # fmt: skip
# rows that the thesis lacks; test_methods.py has them
CONTROLS = ['cmo+cuda', 'ldam+cmo+cuda', 'ride+cmo+cuda']
# beside FASS alone; between them they hold every piece of FASS' rows
REAL = ['bcl+fass', 'ride+cmo+cuda+fass']


@pytest.mark.parametrize('method', THESIS)
def test_a_row_of_the_thesis_has_all_its_pieces_on(method):
  """Late steps across the end of an epoch, of two convolutions behind the real head."""
  run = bench.late(method)
  pieces.assert_active(run)
  pieces.assert_unlike_others('rows', method, run.state.params)


@pytest.fixture(scope='module')
def cifar100():
  """A set of CIFAR-100-LT's shape."""
  labels = np.repeat(np.arange(100), class_counts(500, 100, 100.0)).astype(np.int32)
  images = np.zeros((len(labels), 32, 32, 3), np.uint8)
  names = tuple(map(str, range(100)))
  return Dataset('cifar100_lt', images, labels, np.arange(len(labels)), images, labels, names)


# of a stage of 16, 32 and 64 channels: 5 blocks of 2 convolutions, and the first one before them
CONVOLUTIONS = 31


@pytest.mark.parametrize('method', THESIS)
def test_the_real_step_of_a_row_has_its_shapes(method, cifar100):
  """ResNet-32 on batches of 128 images of 100 classes, as the thesis trains it: only traced."""
  config = runs.config_of(f'--config=cifar100_lt.py:{method}')
  b = bench.Bench(config=config, data=cifar100, net='real', shared=True)
  before, after = b.traced()
  assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
    lambda x: (x.shape, x.dtype), before
  )
  kernels = [x.shape for x in jax.tree.leaves(before.params['body']) if len(x.shape) == 4]
  # three experts share the first stage of 10 and what is before it
  assert len(kernels) == (11 + 3 * 20 if 'ride' in method else CONVOLUTIONS)
  assert b.recipe.batch_size == 128 and set(after.tally['terms']) == set(b.recipe.terms)


def assert_trained(config, state, rows):
  """Asserts that the losses are finite, some epoch is above chance and every piece is active."""
  assert rows[-1]['step'] == 30
  assert max(r['train_top1'] for r in rows) > 0.15  # half above chance
  recipe = build(config, pieces.digits())
  began = {n: s.init(10) for n, s in recipe.signals.items()}
  pieces.assert_active(bench.Run(config, recipe, began, state, rows))


@pytest.mark.real_net
def test_fass_trains():
  """The whole network and a session, read from what the run has left."""
  folder = runs.digits_run()
  (matrix,) = (x for path, x in runs.saved(folder).items() if path.endswith("['matrix']"))
  state = SimpleNamespace(signals={'score': SimpleNamespace(matrix=matrix)})
  assert_trained(runs.config_of(*runs.EVERY), state, runs.records(folder))


@pytest.mark.real_net
@pytest.mark.parametrize('method', REAL)
def test_a_row_of_the_thesis_trains(method, tmp_path):
  """With one program instead of two; FASS alone has both."""
  sets = ['--config.epochs=5', '--config.eval.every=5', '--config.streams.pair.start=on']
  if 'cuda' in method:  # some class rises within 30 steps
    sets.append('--config.signals.levels.accept=0.0')
  config = runs.config_of(f'--config=digits_lt.py:{method}', *sets)
  state, rows = runs.in_memory(config, tmp_path)
  assert int(state.step) == 30
  if 'cuda' in method:
    assert max(r['signals']['levels']['level_max'] for r in rows) > 0
  assert_trained(config, state, rows)
