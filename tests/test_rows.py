"""The rows of the thesis' tables 4 and 5, and the controls they lack: each trains for 30 steps."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from fass_jax import evaluate, programs
from fass_jax.nets.base import BACKBONES
from fass_jax.nets.norm import BatchNorm
from tests import pieces, runs

# tables 4 and 5 as the thesis prints them, then the controls
THESIS = [
  'ce', 'cmo', 'cuda', 'doda', 'cmo+doda', 'fass', 'cmo+cuda+fass', 'ldam', 'ldam+cuda',
  'ldam+doda', 'ldam+fass', 'ldam+cmo+cuda+fass', 'bcl', 'bcl+cuda', 'bcl+doda', 'bcl+fass',
  'ride', 'ride+cmo', 'ride+cuda', 'ride+doda', 'ride+fass', 'ride+cmo+cuda+fass', 'drw+fass',
  'cmo+cuda', 'ldam+cmo+cuda', 'ride+cmo+cuda',
]  # fmt: skip
# convolutions take most of the compile time: these rows, with every piece among them, have the
# whole network, the others one layer in the place of its backbone and everything else as it is
WHOLE = {
  'ce', 'cmo', 'cuda', 'doda', 'fass', 'ldam', 'ldam+fass', 'drw+fass', 'bcl', 'bcl+fass', 'ride',
  'ride+cmo', 'ride+fass', 'ride+cmo+cuda+fass',
}  # fmt: skip


class OneLayer(nn.Module):
  """A backbone of one dense layer for each expert, with batch normalisation."""

  depth: int
  experts: int
  reduced: bool
  how: object

  @nn.compact
  def __call__(self, x, train):
    flat, features = x.reshape(x.shape[0], -1), []
    for expert in range(self.experts):
      y = nn.Dense(64, name=f'layer{expert}')(flat)
      features.append(jax.nn.relu(BatchNorm(name=f'bn{expert}')(y, train)))
    return features[0] if self.experts == 1 else jnp.stack(features, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize('method', THESIS)
def test_a_row_of_the_thesis_trains_with_all_its_pieces(method, tmp_path, monkeypatch):
  """On the digits: finite, above chance, every piece active, unlike the other rows."""
  fast = {**programs.compiler_options(), 'xla_backend_optimization_level': 1}
  for module in (programs, evaluate):  # 30 steps do not pay for an optimised program
    monkeypatch.setattr(module, 'compiler_options', lambda: fast)
  if method not in WHOLE:
    monkeypatch.setitem(BACKBONES, 'resnet_cifar', OneLayer)
  sets = ['--config.epochs=5', '--config.eval.every=5']
  if '+' in method and 'fass' in method:  # one program instead of two; 'fass' itself has both
    sets.append('--config.streams.pair.start=on')
  if 'cuda' in method:  # some class rises within 30 steps
    sets.append('--config.signals.levels.accept=0.0')
  config = runs.config_of(f'--config=digits_lt.py:{method}', *sets)
  state, rows = runs.in_memory(config, tmp_path)
  assert int(state.step) == 30
  assert max(r['train_top1'] for r in rows) > 0.15  # half above chance
  pieces.assert_active(pieces.Run(config, state, rows))
  pieces.assert_unlike_others('rows', method, state.params)
