import importlib.util
import json

import pytest

from tests import runs

spec = importlib.util.spec_from_file_location('tables', runs.REPO / 'launch' / 'tables.py')
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


@pytest.fixture()
def tiny(monkeypatch):
  monkeypatch.setitem(
    tables.TABLES,
    'tiny',
    {
      'title': 'Tiny',
      'config': 'configs/digits_lt.py',
      'rows': [('CE', 'ce', {}), ('FASS', 'fass', {'streams.pair.rho': 0.5})],
    },
  )


def test_ledger_is_filled_skipped_and_reported(tiny, tmp_path, capsys):
  args = ['--table=tiny', '--seeds=1', f'--runs={tmp_path / "runs"}',
          f'--results={tmp_path / "results"}', '--config.epochs=2']  # fmt: skip
  assert tables.run(args) == 0
  rows = tables.ledger('tiny', tmp_path / 'results')
  assert [r['method'] for r in rows] == ['ce', 'fass']
  assert rows[1]['overrides'] == {'epochs': 2, 'streams.pair.rho': 0.5} and rows[0]['seed'] == 0
  assert {'config', 'subset_seed', 'epochs', 'last', 'best', 'wall_s', 'device', 'versions',
          'commit'} <= rows[0].keys()  # fmt: skip
  assert rows[0]['versions'].keys() >= {'jax', 'flax', 'python'}
  capsys.readouterr()
  assert tables.run(args) == 0
  assert capsys.readouterr().out == ''  # both rows were there
  assert len(tables.ledger('tiny', tmp_path / 'results')) == 2
  readme = tmp_path / 'README.md'
  readme.write_text('a\n<!-- results tiny -->\nold\n<!-- end tiny -->\nb\n')
  tables.write_report(tmp_path / 'results', tmp_path / 'docs', readme)
  text = readme.read_text()
  assert 'old' not in text and text.startswith('a\n') and text.endswith('\nb\n')
  assert '| FASS | `fass` `streams.pair.rho=0.5` |' in (tmp_path / 'docs/results.md').read_text()


def test_budget_stops_before_the_next_row(tiny, tmp_path, capsys):
  args = ['--table=tiny', '--budget=0s', f'--runs={tmp_path}', f'--results={tmp_path}']
  assert tables.run(args) == 0
  assert 'budget' in capsys.readouterr().out and tables.ledger('tiny', tmp_path) == []


def test_cells():
  assert tables.cell([0.5, 0.7]) == '60.00 ± 14.14'
  assert tables.cell([0.5]) == '50.00' and tables.cell([None]) == '-'
  assert tables.seconds('20m') == 1200 and tables.seconds('90') == 90


def test_a_wrong_override_is_one_sentence(tiny, tmp_path, capsys):
  args = ['--table=tiny', f'--runs={tmp_path}', f'--results={tmp_path}', '--config.epoch=2']
  assert tables.run(args) == 1
  assert "did you mean 'epochs'" in capsys.readouterr().err


def test_no_two_rows_of_the_digits_table_are_identical():
  rows = tables.ledger('digits', runs.REPO / 'results')
  assert len(rows) >= 8
  figures = [json.dumps([r['seed'], r['last']]) for r in rows]
  assert len(set(figures)) == len(figures)
  for method in ('ce', 'fass', 'random_mix'):
    assert len({r['seed'] for r in rows if r['method'] == method}) >= 5
