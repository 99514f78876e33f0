"""`--help NAME` and the one parser of flags."""

import pytest

from fass_jax import main
from fass_jax.command import config_file, explain, flags
from fass_jax.config import method_rows
from fass_jax.config.check import known_keys
from fass_jax.types import UserError


def said(capsys, *argv):
  """Returns the exit code, stdout and stderr of a command line."""
  code = main.main([*argv])
  out, err = capsys.readouterr()
  return code, out, err


def test_help_names_families_and_methods_with_their_titles(capsys):
  code, out, _ = said(capsys, '--help')
  assert code == 0 and '--help NAME explains a config key or a method' in out
  for name, row in method_rows().items():
    assert any(line.split() == [name, *row.title.split()] for line in out.splitlines()), name
  for word in ('  FASS\n', 'digits_lt.py', '--config.imb_factor', '--workdir'):
    assert word in out
  assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize('argv', [['--help', 'streams.pair.rho'], ['--help=streams.pair.rho'],
                                  ['-h', '--config.streams.pair.rho']])  # fmt: skip
def test_help_of_a_key_is_its_row(capsys, argv):
  code, out, _ = said(capsys, *argv)
  assert code == 0
  if argv[0] == '-h':  # a flag is no topic
    assert 'Main overrides' in out
    return
  for word in ('--config.streams.pair.rho', 'Share of the batch', '1.0', 'a number in (0, 1]'):
    assert word in out


@pytest.mark.parametrize('key', known_keys())
def test_every_key_can_be_explained(key):
  text = explain.explain(key)
  assert text.startswith(f'--config.{key}\n') and 'default' in text and 'expects' in text


@pytest.mark.parametrize('name', method_rows())
def test_every_method_can_be_explained(name):
  row, text = method_rows()[name], explain.explain(name)
  assert row.title in text and row.reference in text and row.fills in text
  for key, value in row.delta.items():
    assert f'{key} = {value!r}' in text
  assert ('finished run' in text) == row.needs_run or 'finished run' in row.title


def test_choices_tables_and_readers_are_named():
  assert 'first, bernoulli, coin' in explain.explain('streams.pair.gate')
  assert 'none, or a name of the partners' in explain.explain('streams.pair.partner')
  assert 'read by    score_matrix' in explain.explain('signals.score.decay')
  assert explain.explain('ldam+fass').count('reference') == 2


@pytest.mark.parametrize(
  'topic, words',
  [
    ('fas', "did you mean 'fass'?"),
    ('optim.lrr', "did you mean 'optim.lr'?"),
    ('rho', "did you mean 'streams.natural.rho'?"),
    ('loss_args.gamma', "it is called 'loss_args.focal.gamma' now."),
  ],
)
def test_an_unknown_topic_is_one_sentence(capsys, topic, words):
  code, _, err = said(capsys, '--help', topic)
  assert code == 1 and f"no config key or method '{topic}'" in err and words in err


def test_one_parser_reads_the_flags_of_a_run():
  words = config_file.read(['-workdir', 'x', '--config.seed', '3', '--recipe', '--config=a.py:b'])
  assert words.flags == {'--config': 'a.py:b', '--workdir': 'x', '--recipe': 'true'}
  assert words.sets == [('seed', '3')] and words.rest == []
  assert config_file.read([]).flags['--recipe'] == ''
  for argv, sentence in (
    (['--confg=x'], "There is no flag '--confg=x'; did you mean '--config'?"),
    (['recipe'], "There is no flag 'recipe'; did you mean '--recipe'?"),
    (['--config.epochs'], '--config.epochs needs a value: --config.epochs=VALUE.'),
    (['--recipe=yes'], "There is no 'yes' for --recipe"),
  ):
    with pytest.raises(UserError) as caught:
      config_file.read(argv)
    assert sentence in str(caught.value)


def test_topics():
  assert flags.help_topic(['--workdir=x']) is None
  assert flags.help_topic(['--workdir=x', '--help']) == ''
  assert flags.help_topic(['--help', '--workdir=x']) == ''
  assert flags.help_topic(['--help', 'fass', '--workdir=x']) == 'fass'


@pytest.mark.parametrize(
  'word, sentence',
  [
    ('optim.nesterov=3', 'it expects True or False.'),
    ('net.depth=deep', 'it expects a whole number such as 8.'),
    ('data.mean=red', 'it expects a tuple such as (0.3053, 0.3053, 0.3053).'),
    ('optim.lr=fast', 'it expects a number such as 0.1.'),
  ],
)
def test_a_value_of_another_kind_says_what_is_expected(word, sentence):
  with pytest.raises(UserError, match='is not of the right kind') as caught:
    config_file.load_config([f'--config.{word}'])
  assert sentence in str(caught.value)
