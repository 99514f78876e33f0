"""The rows of the thesis' tables 4 and 5: each trains for 30 steps."""

import pytest

from tests import pieces, runs

# as the thesis prints them
THESIS = [
  'ce', 'cmo', 'cuda', 'doda', 'cmo+doda', 'fass', 'cmo+cuda+fass', 'ldam', 'ldam+cuda',
  'ldam+doda', 'ldam+fass', 'ldam+cmo+cuda+fass', 'bcl', 'bcl+cuda', 'bcl+doda', 'bcl+fass',
  'ride', 'ride+cmo', 'ride+cuda', 'ride+doda', 'ride+fass', 'ride+cmo+cuda+fass', 'drw+fass',
]  # fmt: skip
# rows that the thesis lacks; test_methods.py trains them, with the linear net
CONTROLS = ['cmo+cuda', 'ldam+cmo+cuda', 'ride+cmo+cuda']


@pytest.mark.parametrize('method', THESIS)
def test_a_row_of_the_thesis_trains_with_all_its_pieces(method, tmp_path, monkeypatch):
  """The whole network: finite, above chance, every piece active, unlike the other rows."""
  sets = ['--config.epochs=5', '--config.eval.every=5']
  if '+' in method:  # a program of its own, for 30 steps
    runs.compile_quickly(monkeypatch, 1)
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
