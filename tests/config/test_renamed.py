"""Old keys in ledgers, work directories and commands find their new homes."""

import json

import pytest

from fass_jax.command.config_file import load_config
from fass_jax.config import base_config
from fass_jax.config.deltas import differences, flatten
from fass_jax.config.keys import KEYS, LOSS_ARGS
from fass_jax.config.renamed import RENAMED, renew, renew_config, without_unread
from fass_jax.types import UserError
from launch.ledger import ledger as book
from tests import runs

# of commit 5a73481: for each line of each ledger its row, null for a line without one, as
# [method string and values of the overrides, how many lines in turn]
ROWS = {
  name: [row for row, count in rows for _ in range(count)]
  for name, rows in json.loads(
    (runs.REPO / 'tests' / 'golden' / 'ledger_rows.json').read_text()
  ).items()
}
# the section as it was then, in config.json
THEN = {
  'max_margin': 0.5, 'tau': 1.0, 'weighted_tau': 0.5, 'tau1': 1.0, 'tau2': 1.0,
  'adaptive_margin': 1.0, 'equalised_share': 0.9, 'equalised_below': 0.5, 'smoothing': 0.1,
  'cdt_gamma': 0.2, 'gamma': 1.0, 'sigmoid_gamma': 1.0, 'sigmoid_alpha': 0.0, 'range_k': 2,
  'range_margin': 10.0, 'range_intra': 1.0, 'range_inter': 1.0, 'diversity': -0.45,
  'diversity_factor': 0.05, 'temperature': 0.1, 'distill_temperature': 1.5, 'distill_power': 1.0,
  'router_positive': 100.0,
}  # fmt: skip


def old_config(words, **loss_args):
  """Returns the config.json of a command as commit 5a73481 wrote it."""
  config = json.loads(json.dumps(runs.config_of(*words).to_dict()))
  return config | {'loss_args': THEN | loss_args}


def test_every_old_key_has_homes_that_are_keys_and_none_is_a_key():
  assert {f'loss_args.{key}' for key in THEN} == RENAMED.keys()
  assert all(home in KEYS for homes in RENAMED.values() for home in homes)
  assert not RENAMED.keys() & KEYS.keys()


def test_a_shared_parameter_belongs_to_the_losses_in_use():
  def renewed(**more):
    return renew({'loss_args.max_margin': 0.3, **more}).keys() - more.keys()

  ldam, ride = 'loss_args.ldam.max_margin', 'loss_args.ride.max_margin'
  assert renewed(loss='ldam') == {ldam}
  assert renewed(loss='ride') == {ride}
  assert renewed(**{'terms.fs.loss': 'ldam', 'loss': 'ce'}) == {ldam}
  assert renewed(loss='ce') == {ldam, ride}


def test_keys_of_stages_are_renewed_and_new_keys_stay():
  old = {'stages.student.loss_args.distill_power': 0.5, 'stages.student.loss': 'ce', 'epochs': 3}
  assert renew(old) == {
    'stages.student.loss_args.distillation.power': 0.5, 'stages.student.loss': 'ce', 'epochs': 3,
  }  # fmt: skip
  both = {'loss_args.gamma': 2.0, 'loss_args.focal.gamma': 3.0}
  assert renew(both) == {'loss_args.focal.gamma': 3.0} == renew(renew(both))


def test_parameters_of_losses_that_are_not_used_are_left_out():
  flat = {'loss': 'ldam', 'loss_args.ldam.max_margin': 0.3, 'loss_args.ride.max_margin': 0.3,
          'stages.a.loss_args.focal.gamma': 2.0, 'epochs': 3}  # fmt: skip
  kept = {'loss': 'ldam', 'loss_args.ldam.max_margin': 0.3, 'epochs': 3}
  assert without_unread(flat) == kept
  assert without_unread(flat, ['focal', 'ride']) == flat


def test_a_whole_config_has_todays_keys():
  words = ['--config=digits_lt.py:dive']
  old = old_config(words, gamma=2.5)
  old['stages']['student']['loss_args'] = {'distill_temperature': 2.0, 'distill_power': 0.5}
  new = renew_config(old)
  assert new.keys() == old.keys() and new['signals'] == {}
  # losses that are younger than that commit are not in it
  known = {home.split('.')[1] for homes in RENAMED.values() for home in homes}
  younger = {
    f'loss_args.{loss}.{key}' for loss in LOSS_ARGS.keys() - known for key in LOSS_ARGS[loss]
  }
  assert flatten(new).keys() == flatten(runs.config_of(*words)).keys() - younger
  then = {loss: args for loss, args in LOSS_ARGS.items() if loss in known}
  assert new['loss_args'] == then | {'focal': {'gamma': 2.5}}
  assert new['stages']['student']['loss_args'] == {
    'distillation': {'temperature': 2.0, 'power': 0.5}
  }
  assert new['views'] == old['views'] and new['data'] == old['data']
  base_config('').update(new | {'data': {}, 'views': {}, 'terms': {}, 'streams': {}, 'optim': {},
                                'reweight': {}})  # fmt: skip


@pytest.mark.parametrize('name, method', [('digits_lt', 'fass'), ('inat18', 'ldam')])
def test_an_old_run_is_the_same_run(name, method):
  words = [f'--config={name}.py:{method}']
  old = old_config(words, max_margin=0.3 if name == 'inat18' else 0.5)
  new = runs.config_of(*words).to_dict()
  assert differences(old, new) == []
  other = runs.config_of(*words, '--config.loss=ldam', '--config.loss_args.ldam.max_margin=0.4')
  assert any('ldam.max_margin (' in key for key in differences(old, other.to_dict()))
  # a parameter of a loss that nobody uses makes no other run
  unread = runs.config_of(*words, '--config.loss_args.ride.max_margin=0.4')
  assert differences(old, unread.to_dict()) == []


@pytest.mark.parametrize(
  'words, sentence',
  [
    (['--config.loss_args.gamma=2'],
     "no config key 'loss_args.gamma' any more; it is called 'loss_args.focal.gamma' now."),
    (['--config=digits_lt.py:ldam', '--config.loss_args.max_margin=.4'],
     "it is called 'loss_args.ldam.max_margin' now."),
    (['--config.loss_args.max_margin=.4'],
     "'loss_args.ldam.max_margin' or 'loss_args.ride.max_margin' now."),
    (['--config=digits_lt.py:dive', '--config.stages.student.loss_args.distill_power=1'],
     "it is called 'stages.student.loss_args.distillation.power' now."),
  ],
)  # fmt: skip
def test_an_override_with_an_old_key_says_the_new_one(words, sentence):
  with pytest.raises(UserError) as caught:
    load_config(words)
  assert sentence in str(caught.value)


@pytest.mark.parametrize('name', ROWS)
def test_every_line_of_a_ledger_is_found_by_the_row_that_found_it(name):
  table = book.TABLES[name]
  names = {
    book.key_of(book.arguments(table, row)): ' '.join(
      [row.method, *map(str, row.overrides.values())]
    )
    for row in book.rows(table)
  }
  lines = book.ledger(name, runs.REPO / 'results')
  now = [names.get(book.line_key(line)) for line in lines]
  # lines that came later stand behind
  assert now[: len(ROWS[name])] == ROWS[name]
