"""One row per key: every key of a config has one, and its default is a value it takes."""

import pytest

from fass_jax.config import base_config
from fass_jax.config.check import check_value, known_keys
from fass_jax.config.deltas import flatten
from fass_jax.config.key import Key, bounds, expects, is_within
from fass_jax.config.keys import ENTRIES, FREE, KEYS, SIGNAL, row_of
from fass_jax.signals import SIGNALS

ROWS = KEYS | {f'{s}.{leaf}': row for s, rows in ENTRIES.items() for leaf, row in rows.items()}


def test_every_key_of_a_config_has_one_row_with_its_default():
  config = base_config('x')
  config.signals = {'natural': dict(SIGNAL)}
  flat = flatten(config, tuples=True)
  assert flat.keys() == KEYS.keys() | {
    f'{s}.natural.{leaf}' for s, rows in ENTRIES.items() for leaf in rows
  }
  for key, value in flat.items():
    if key not in ('name', 'data.kind'):
      assert value == row_of(key).default and type(value) is type(row_of(key).default), key
  assert set(known_keys()) == {k.replace('signals.natural', 'signals.NAME') for k in flat}


@pytest.mark.parametrize('key', ROWS)
def test_a_row_has_a_line_of_help_and_a_default_that_it_takes(key):
  row = ROWS[key]
  assert '\n' not in row.help and row.help.endswith('.') and len(row.help) < 160
  assert expects(row)
  if row.choices and not row.table:
    assert row.default in row.choices
  section, _, leaf = key.partition('.')
  check_value(f'{section}.any.{leaf}' if section in ENTRIES else key, row.default, {}, 200)
  assert row.at_least is None or row.above is None
  assert row.at_most is None or row.below is None


def test_rows_of_stages_and_pieces_are_found_under_any_name():
  assert row_of('stages.late.optim.lr') is KEYS['optim.lr']
  assert row_of('streams.mine.rho') is row_of('stages.late.streams.pair.rho')
  for key in ('optim.lrr', 'optim', 'streams.mine', 'streams.mine.rho.x', 'stages.late', ''):
    assert row_of(key) is None, key


def test_parameters_of_signals_say_which_kind_reads_them():
  rows = ENTRIES['signals']
  assert {kind for row in rows.values() for kind in row.of} == SIGNALS.keys()
  assert {name for name, row in rows.items() if not row.of} == {'kind', 'view'}


def test_free_keys_are_keys():
  for free in FREE:
    assert any(key.startswith(free) for key in KEYS), free


@pytest.mark.parametrize(
  'row, words, good, bad',
  [
    (Key(0, '', at_least=0), 'at least 0', (0, 1), (-1,)),
    (Key(1, '', above=0), 'above 0', (0.1,), (0,)),
    (Key(1, '', below=1), 'below 1', (0.9, -9), (1,)),
    (Key(1, '', at_most=1), 'at most 1', (1,), (1.1,)),
    (Key(1, '', at_least=0, below=1), 'in [0, 1)', (0, 0.9), (1, -0.1)),
    (Key(1, '', above=0, at_most=1), 'in (0, 1]', (1, 0.1), (0, 1.1)),
    (Key(1, '', above=0, below=1), 'in (0, 1)', (0.5,), (0, 1)),
    (Key(1, '', at_least=0, at_most=1), 'in [0, 1]', (0, 1), (-0.1, 1.1)),
    (Key(1, ''), '', (-9,), ()),
  ],
)
def test_bounds(row, words, good, bad):
  assert bounds(row) == words
  assert all(is_within(row, x) for x in good) and not any(is_within(row, x) for x in bad)
