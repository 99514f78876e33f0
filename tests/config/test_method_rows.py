"""One row per method: delta, title, reference, slots; families by file."""

import re

import pytest

from fass_jax.config import Method, base_config, deltas, method_rows, methods, with_methods
from fass_jax.types import UserError
from tests import runs


@pytest.fixture()
def elsewhere(tmp_path, monkeypatch):
  """A config folder with two families; returns a function that writes a family."""
  (tmp_path / 'methods').mkdir()
  monkeypatch.setattr(deltas, 'config_dir', lambda: tmp_path)

  def write(file, family, names):
    (tmp_path / 'methods' / file).write_text(
      'from fass_jax.config import Method\n'
      f'FAMILY = {family!r}\n'
      f'METHODS = {{n: Method({{"epochs": 3}}, n, "-", "nothing") for n in {names!r}}}\n'
    )

  deltas.families.cache_clear()
  yield write
  deltas.families.cache_clear()


def test_every_method_has_a_line_and_a_reference():
  for name, row in method_rows().items():
    assert row.title.endswith('.') and '\n' not in row.title + row.reference + row.fills, name
    assert 5 < len(row.title) < 90 and row.fills, name
    # a paper has a venue or a year; most have an arXiv id
    assert row.reference == '-' or re.search(r'thesis|20\d\d', row.reference), name
  with_id = [r for r in method_rows().values() if 'arXiv:' in r.reference]
  assert len(with_id) > 0.8 * len(method_rows())


def test_methods_are_the_deltas_of_the_rows():
  assert methods() == {name: row.delta for name, row in method_rows().items()}
  assert all(deltas.families().values())
  # files and family titles belong together
  files = sorted(p.stem for p in (runs.REPO / 'configs' / 'methods').glob('*.py'))
  assert len(files) == len(deltas.families())


def test_families_come_from_the_files(elsewhere):
  elsewhere('a.py', 'One', ['x'])
  elsewhere('b.py', 'Two', ['y', 'z'])
  assert {title: list(rows) for title, rows in deltas.families().items()} == {
    'One': ['x'],
    'Two': ['y', 'z'],
  }
  assert method_rows()['z'] == Method({'epochs': 3}, 'z', '-', 'nothing')


def test_a_name_in_two_files_is_an_error(elsewhere):
  elsewhere('a.py', 'One', ['x'])
  elsewhere('b.py', 'Two', ['x'])
  with pytest.raises(UserError, match=r"method 'x' is in a.py and in b.py; rename one"):
    methods()


def test_what_a_data_set_sets_otherwise_is_merged_before_the_clash_check():
  other = {'drw': {'optim.lr': 0.2, 'reweight.share': ((0, 1.0),)}, 'cb': {'optim.lr': 0.2}}
  config = with_methods(base_config('x'), 'cb+drw', other)
  assert (config.optim.lr, config.reweight.share) == (0.2, ((0, 1.0),))
  with pytest.raises(UserError, match="'cb' and 'drw' cannot be combined: they set optim.lr to"):
    with_methods(base_config('x'), 'cb+drw', other | {'cb': {'optim.lr': 0.3}})
  # it may name what comes into being with the method
  config = with_methods(base_config('x'), 'cuda', {'cuda': {'signals.levels.accept': 0.4}})
  assert config.signals.levels.accept == 0.4
