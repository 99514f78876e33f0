"""The tables as code: what is run, in which order, once; and what the report makes of it."""

import itertools
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import types
from fass_jax.config import stages
from fass_jax.config.deltas import methods
from fass_jax.recipe import build, optimiser
from launch import tables
from launch.ledger import ledger as book
from launch.ledger import plan as planned
from launch.ledger import report
from tests import runs

TABLES = book.TABLES
ROWS = [(name, row) for name, table in TABLES.items() for row in book.rows(table)]
DIGITS = {'title': 'Tiny', 'config': 'configs/digits_lt.py', 'overrides': {'epochs': 2}}


@pytest.fixture()
def quick(monkeypatch):
  """Everything real but the network, which is linear, and the pictures."""
  runs.use_linear_net(monkeypatch)


@pytest.fixture()
def tiny(monkeypatch, quick):
  table = DIGITS | {'rows': [('CE', 'ce', {}), ('FASS', 'fass', {'streams.pair.rho': 0.5})]}
  monkeypatch.setitem(TABLES, 'tiny', table)


def places(path, *more):
  return [f'--runs={path / "runs"}', f'--results={path / "results"}', *more]


def written(path, *lines, name='tiny'):
  """Writes a ledger by hand."""
  book.append(name, path / 'results', lines)


def line(method='ce', seed=0, top1=0.5, wall_s=10.0, **more):
  """A line of a ledger as it was before settings were kept."""
  figures = dict.fromkeys(tables.KEPT, top1)
  given = {'config': 'digits_lt', 'method': method, 'overrides': {'epochs': 2}, 'seed': seed,
           'subset_seed': 0, 'epochs': 2, 'last': figures, 'best': figures, 'wall_s': wall_s,
           'device': 'cpu'}  # fmt: skip
  return given | more


# the rows


@pytest.mark.parametrize('name', TABLES)
def test_every_row_builds_its_config_and_its_recipe(name):
  """Of the real config files; the recipe on a stand-in for the examples, which it only counts."""
  for row in book.rows(TABLES[name]):
    config = runs.config_of(*book.arguments(TABLES[name], row))
    assert config.method == '+'.join(sorted(row.method.split('+')))
    classes = 100 if 'cifar100' in config.name else 10
    labels = np.arange(512) % classes
    data = types.Dataset(
      'x', np.ones((512, 8, 8, 3), np.uint8), labels, labels, np.ones((1, 8, 8, 3), np.uint8),
      labels[:1], tuple(map(str, range(classes))),
    )  # fmt: skip
    if config.task == 'regression':  # rows, whose labels are bins of numbers
      rows, y = np.ones((512, 4), np.float32), labels.astype(np.float32)
      data = data._replace(train_images=rows, test_images=rows[:1], train_values=y)
    assert build.build(config, data).num_classes == classes


def test_no_two_rows_of_a_table_are_the_same_run():
  for name, table in TABLES.items():
    keys = [book.key_of(book.arguments(table, row)) for row in book.rows(table)]
    assert len(set(keys)) == len(keys), name


def figure(table, label, factor=None):
  (row,) = [r for t, r in ROWS if t == table and r.label == label
            and factor in (None, r.overrides.get('imb_factor'))]  # fmt: skip
  return row


def test_figures_of_the_thesis_copied_by_hand():
  got = {
    (label, factor): figure('4', label, factor).thesis
    for label in ('CE', 'FASS', 'LDAM+CUDA', 'BCL+DODA', 'RIDE+CMO+CUDA+FASS')
    for factor in (10, 50, 100)
  }
  assert list(got.values()) == [
    56.5, 43.38, 38.1, 60.69, 47.70, 43.15, 57.9, 50.8, 47.1, 62.7, 53.6, 51.0, 63.16, 55.78, 51.73,
  ]  # fmt: skip
  assert [figure('5', 'DRW+FASS', f).thesis for f in (10, 50, 100)] == [90.30, 83.62, 78.76]
  assert [figure('5', 'LDAM+FASS', f).thesis for f in (10, 50, 100)] == [90.22, 83.33, 78.87]
  assert [r.thesis for t, r in ROWS if t == '7'][:4] == [37.06, 40.52, 41.51, 44.03]
  assert [r.thesis for t, r in ROWS if t == '8'][:2] == [42.27, 44.03]
  # column sums of the printed tables
  sums = {f: sum(r.thesis or 0 for t, r in ROWS if t == '4' and r.overrides['imb_factor'] == f)
          for f in (10, 50, 100)}  # fmt: skip
  assert sums == pytest.approx({10: 1324.47, 50: 1108.30, 100: 1021.46}, abs=0.006)


def test_controls_have_no_figure_of_the_thesis_and_all_others_have_one():
  for name, row in ROWS:
    if name in ('4', '5', '7', '8'):
      assert (row.thesis is None) == row.label.startswith('control'), (name, row.label)
  for factor in (10, 50, 100):
    mine = {r.method for t, r in ROWS if t == '4' and r.overrides['imb_factor'] == factor}
    assert {'random_mix', 'cmo+cuda', 'ldam+cmo+cuda', 'ride+cmo+cuda', 'drw'} <= mine


def test_published_figures_and_bands_stand_at_their_imbalance_factor():
  ce = figure('4', 'CE', 50)
  assert ce.published == {'[Re]CUDA logs': 42.92} and ce.band == (42.9, 43.4)
  cmo = figure('4', 'CMO', 100)
  assert cmo.published['CMO paper'] == 43.9 and cmo.band == (41.7, 42.4)
  assert figure('4', 'RIDE', 10).band == (59.1, 61.1)
  assert figure('4', 'control: CE-DRW', 100).band == (40.5, 41.3)
  assert figure('4', 'control: Cutout alone', 50).published == {'[Re]CUDA logs': 45.97}
  assert figure('5', 'CE', 50).band == (74.8, 77.5)
  assert figure('5', 'CE', 100).published['LDAM paper'] == 70.36


def test_sweeps_contain_the_optima_and_run_them_first():
  for name, best in (('alpha', 0.8), ('rho', 0.3)):
    rows = [r for t, r in ROWS if t == name]
    values = [next(iter(r.overrides.values())) for r in rows]
    assert best in values and values == sorted(values) and len(values) >= 5
    assert next(iter(min(rows, key=lambda r: r.rank).overrides.values())) == best


def test_every_method_is_a_row_on_digits():
  thesis = {r.method for t, r in ROWS if t in ('4', '5')}
  left_out = runs.NEEDS_RUN | runs.OF_NUMBERS
  wanted = {m for m in thesis | set(methods()) if not left_out & set(m.split('+'))}
  rows = [r for t, r in ROWS if t == 'digits_methods']
  # rows with overrides are controls
  assert sorted(r.method for r in rows if not r.overrides) == sorted(wanted)


def test_figures_of_bagoftricks_are_its_errors_turned_over():
  got = {
    (t, r.method, r.overrides['imb_factor']): r.published['BagofTricks-LT']
    for t, r in ROWS if t.startswith('bagoftricks') and r.published
  }  # fmt: skip
  assert len(got) == 100
  ten, hundred = 'bagoftricks_cifar10', 'bagoftricks'
  for key, error in {
    (ten, 'ce', 100.0): 29.64, (hundred, 'ce', 50.0): 56.15, (hundred, 'ldam', 100.0): 57.53,
    (ten, 'balanced_softmax', 50.0): 18.89, (hundred, 'crt', 100.0): 59.74,
    (ten, 'tau_norm', 100.0): 27.30, (hundred, 'class_balanced', 100.0): 64.76,
  }.items():  # fmt: skip
    assert got[key] == pytest.approx(100 - error)
  # sums of the printed columns
  sums = {(t, f): sum(100 - v for (x, _, g), v in got.items() if (x, g) == (t, f))
          for t in (ten, hundred) for f in (100.0, 50.0)}  # fmt: skip
  printed = {(ten, 100.0): 659.61, (ten, 50.0): 523.77, (hundred, 100.0): 1514.78,
             (hundred, 50.0): 1398.02}  # fmt: skip
  assert sums == pytest.approx(printed, abs=0.01)


def test_rows_of_bagoftricks_have_its_settings(tmp_path):
  """Read in its configs of the subsets of Cao et al."""

  def config(name, method, factor):
    (row,) = [
      r for t, r in ROWS if (t, r.method, r.overrides.get('imb_factor')) == (name, method, factor)
    ]
    words = book.arguments(book.TABLES[name], row)
    return [s.config for s in stages.split(book.resolve(tuple(words)).config, tmp_path)]

  ten, hundred = 'bagoftricks_cifar10', 'bagoftricks'
  for name, factor, beta, gamma in (
    (ten, 100.0, 0.9999, 1.0), (ten, 50.0, 0.9999, 2.0), (hundred, 100.0, 0.9, 1.0),
    (hundred, 50.0, 0.99, 1.0)):  # fmt: skip
    (c,) = config(name, 'cb_focal', factor)
    assert (c.reweight.beta, c.loss_args.focal_sigmoid.gamma) == (beta, gamma)
    assert (c.net.head, c.optim.undecayed, c.terms.natural.divisor) == ('linear_torch', (), 'batch')
    assert (c.optim.nesterov, c.last_batch, c.epochs) == (True, 'drop', 200)
  assert config(hundred, 'focal_sigmoid', 50.0)[0].loss_args.focal_sigmoid.gamma == 2
  assert config(hundred, 'drw', 100.0)[0].reweight.beta == 0.9
  assert config(hundred, 'ldam', 100.0)[0].reweight.beta == 0.9999
  assert config(hundred, 'ldam', 100.0)[0].net.head == 'cosine'
  assert config(ten, 'manifold_mixup', 50.0)[0].epochs == 400
  (c,) = config(hundred, 'tau_norm', 100.0)
  assert (c.classifier_args.tau, c.data.held_out) == ('1', 0)
  for method in ('crt', 'lws'):
    o = config(hundred, method, 100.0)[1]
    assert (o.epochs, o.optim.curve, o.optim.weight_decay) == (30, 'steps', 5e-4)
    assert o.optim.frozen_statistics == 'drift' and o.optim.nesterov
    rate = optimiser.learning_rate(
      0.1, o.optim.schedule, o.optim.warmup_epochs, o.optim.warmup_fraction, 30
    )
    rates = [float(rate(types.Time(0, jnp.int32(e), 0.0))) for e in (0, 4, 9, 10, 19, 20)]
    assert rates == pytest.approx([0.02, 0.1, 0.1, 0.01, 0.01, 0.001])
  for name, factor, begin in (
    (hundred, 100.0, 2e-4), (hundred, 50.0, 1e-3), (ten, 100.0, 1e-3), (ten, 50.0, 1e-3)
  ):  # fmt: skip
    first, second = config(name, 'cam_drs', factor)
    assert (first.epochs, first.optim.schedule, second.epochs) == (160, ((0, 1.0),), 40)
    o = second.optim
    assert first.optim.nesterov and o.nesterov and second.net.head == 'linear_torch'
    rate = optimiser.learning_rate(0.1, o.schedule, o.warmup_epochs, o.warmup_fraction, 40)
    rates = [float(rate(types.Time(0, jnp.int32(e), 0.0))) for e in (0, 4, 19, 20, 39)]
    assert rates == pytest.approx([begin, 1e-3, 1e-3, 1e-5, 1e-5])
  first, student = config(hundred, 'dive', 100.0)
  assert first.optim.schedule == student.optim.schedule == ((0, 1.0), (0.6, 0.01), (0.8, 0.0001))


# one run in several tables


def key(*words):
  return book.key_of(words)


def test_a_run_is_known_by_its_config():
  fass = '--config=cifar100_lt.py:fass'
  plain = key(fass)
  assert plain == key(fass, '--config.terms.fs.weight=0.8', '--config.imb_factor=100')
  assert plain == key(fass, '--config.seed=3', '--config.seeds=4', '--config.data.dir=x')
  assert plain == key('--config=cifar100_lt.py:random_mix', '--config.streams.pair.partner=score',
                      '--config.streams.pair.lam=score')  # fmt: skip
  others = [
    key(fass, '--config.terms.fs.weight=0.6'), key(fass, '--config.epochs=199'),
    key(fass, '--config.data.subset_seed=1'), key('--config=cifar10_lt.py:fass'),
    key('--config=cifar100_lt.py:ce'),
  ]  # fmt: skip
  assert len({plain, *others}) == 6


def test_settings_are_what_is_no_default():
  config = runs.config_of('--config=cifar100_lt.py:drw', '--config.imb_factor=50')
  assert book.settings(config) == {'imb_factor': 50.0, 'reweight.kind': 'effective_number'}


def test_fass_at_100_is_one_run_of_five_tables(tmp_path):
  shared = line('fass', overrides={}, epochs=200, config='cifar100_lt', top1=0.4321)
  written(tmp_path, shared, name='8')
  for name, rows in (('4', 90), ('7', 10), ('8', 6), ('alpha', 6), ('rho', 5)):
    jobs = planned.plan(name, 1, 1, '*', [], tmp_path, tmp_path / 'results')
    assert len(jobs) == rows - 1
    text = report.markdown(name, tmp_path / 'results')
    assert text.count('| 43.21 | 43.21 | 1 | 43.21 | 43.21 | 43.21 |') == 1, name


def test_lines_without_settings_and_of_unknown_methods_are_read(tmp_path):
  old, gone = line('fass'), line('a_method_that_was')
  assert book.line_key(gone) is None
  assert book.line_key(old) == book.line_key(
    {'config': 'digits_lt', 'settings': json.loads(book.line_key(old))[1]}
  )
  drop = {'optim.schedule': [[0, 1.0], [0.8, 0.01], [0.9, 0.01]], 'epochs': 2}
  assert book.line_key(line('fass', overrides=drop)) not in (None, book.line_key(old))
  written(tmp_path, old, gone)
  assert sum(map(len, book.by_run(book.everything(tmp_path / 'results')).values())) == 1


def test_a_line_that_is_no_json_is_one_sentence(tiny, tmp_path, capsys):
  (tmp_path / 'results').mkdir()
  (tmp_path / 'results' / 'other.jsonl').write_text('{"config": "dig')
  assert tables.run(['--table=tiny', *places(tmp_path)]) == 1
  assert 'Line 1 of' in capsys.readouterr().err


# what is run, and when


def test_the_most_informative_runs_come_first(tmp_path):
  jobs = planned.plan('4', 3, 3, '*', [], tmp_path, tmp_path)
  assert [j.row.method for j in jobs[:9]] == [
    'ce', 'drw', 'ldam', 'cmo', 'cuda', 'ride', 'fass', 'random_mix', 'random_mix',
  ]  # fmt: skip
  factors = [j.run.config.imb_factor for j in jobs]
  assert factors == sorted(factors, reverse=True) and all(j.seeds == (0, 1, 2) for j in jobs)
  # a combination with FASS stands beside the same without it
  order = [j.row.method for j in jobs[:30]]
  assert order.index('cmo+cuda') == order.index('cmo+cuda+fass') + 1
  single = planned.plan('4', 3, 1, '*', [], tmp_path, tmp_path)
  assert [j.seeds[0] for j in single] == [0] * 90 + [1] * 90 + [2] * 90


def test_only_takes_a_pattern_of_method_strings(tmp_path):
  jobs = planned.plan('5', 1, 1, '*+fass', [], tmp_path, tmp_path)
  assert {j.row.method for j in jobs} == {'drw+fass', 'ldam+fass', 'cmo+fass'}


def test_missing_seeds_are_cut_into_neighbours():
  assert planned.groups([0, 1, 2], []) == [(0, 1, 2)]
  assert planned.groups([0, 2, 3, 5], []) == [(0,), (2, 3), (5,)]
  assert planned.groups([], []) == []
  # what was begun goes on as it was begun
  assert planned.groups([0, 1, 2, 3], [range(0, 2)]) == [(0, 1), (2, 3)]
  assert planned.groups([1, 2], [range(0, 2)]) == [(1, 2)]


def test_expected_time_is_of_the_same_run_or_the_last(tiny, tmp_path):
  ce, fass = planned.plan('tiny', 4, 4, '*', [], tmp_path, tmp_path / 'results')
  own = line('fass', overrides={'epochs': 2, 'streams.pair.rho': 0.5}, wall_s=30.0)
  assert planned.expected(fass, []) is None
  assert planned.expected(fass, [line(wall_s=10.0)]) == 40.0
  assert planned.expected(fass, [own, line(wall_s=10.0)]) == 120.0
  assert planned.expected(ce, [line(epochs=3), line(device='another')]) is None
  ce.folder.joinpath('seed0').mkdir(parents=True)
  ce.folder.joinpath('seed0', 'metrics.jsonl').write_text('{"epoch": 1}\n')
  assert planned.expected(ce, [line(wall_s=10.0)]) == 20.0  # half of it is done


def test_a_row_that_would_pass_the_budget_is_not_begun(tiny, tmp_path, capsys):
  written(tmp_path, line(seed=7, wall_s=1000.0))
  assert tables.run(['--table=tiny', '--seeds=1', '--budget=15m', *places(tmp_path)]) == 0
  out = capsys.readouterr().out
  assert '2 not started' in out and 'about 17 min' in out and 'budget of 15 min' in out
  assert len(book.ledger('tiny', tmp_path / 'results')) == 1 and not (tmp_path / 'runs').exists()


def test_no_budget_no_run(tiny, tmp_path, capsys):
  assert tables.run(['--table=tiny', '--budget=0s', *places(tmp_path)]) == 0
  assert 'budget' in capsys.readouterr().out and book.ledger('tiny', tmp_path / 'results') == []


def test_the_budget_stops_a_run_which_then_goes_on(tiny, tmp_path, capsys):
  """By a clock that ticks once a look: the end comes in the first run."""

  def jobs(place):
    return planned.plan('tiny', 1, 1, 'ce', [], place / 'runs', place / 'results')

  tick = itertools.count().__next__
  assert tables.run_jobs('tiny', jobs(tmp_path), 8.0, None, tmp_path / 'results', tick) == 0
  out = capsys.readouterr().out
  assert 'saved at step' in out and book.ledger('tiny', tmp_path / 'results') == []
  (job,) = jobs(tmp_path)
  assert 0 < runs.checkpoints(job.folder)[-1] < 12
  assert tables.run(['--table=tiny', '--seeds=1', *places(tmp_path)]) == 0
  assert tables.run(['--table=tiny', '--seeds=1', *places(tmp_path / 'whole')]) == 0
  ends = [book.ledger('tiny', p / 'results') for p in (tmp_path, tmp_path / 'whole')]
  for stopped, whole in zip(*ends, strict=True):
    assert stopped['last'] == whole['last'] and stopped['best'] == whole['best']


def test_list_runs_nothing(tiny, tmp_path, capsys):
  written(tmp_path, line(seed=5, wall_s=120.0))
  assert tables.run(['--table=tiny', '--seeds=2', '--list', *places(tmp_path)]) == 0
  out = capsys.readouterr().out.splitlines()
  assert out[0] == 'CE (ce epochs=2), seeds 0 to 1: about 4 min'
  assert out[1] == 'FASS (fass epochs=2 streams.pair.rho=0.5), seeds 0 to 1: about 4 min'
  assert out[2].startswith('4 runs, about 8 min') and not (tmp_path / 'runs').exists()


def test_seeds_together_are_the_seeds_one_by_one_and_are_skipped_then(tiny, tmp_path, capsys):
  args = ['--table=tiny', '--seeds=2']
  assert tables.run([*args, *places(tmp_path)]) == 0
  assert tables.run([*args, '--together=1', *places(tmp_path / 'single')]) == 0
  both, single = (book.ledger('tiny', p / 'results') for p in (tmp_path, tmp_path / 'single'))
  assert [(r['method'], r['seed']) for r in both] == [
    ('ce', 0), ('ce', 1), ('fass', 0), ('fass', 1)]  # fmt: skip
  assert [(r['method'], r['seed']) for r in single] == [
    ('ce', 0), ('fass', 0), ('ce', 1), ('fass', 1)]  # fmt: skip
  timed = ('wall_s', 'together')
  bare = [{k: v for k, v in r.items() if k not in timed} for r in (*both, *single)]
  assert sorted(map(json.dumps, bare[:4])) == sorted(map(json.dumps, bare[4:]))
  assert all(r['together'] == 2 for r in both) and not any('together' in r for r in single)
  assert both[0]['last'] != both[1]['last'] and both[0]['wall_s'] == both[1]['wall_s'] > 0
  assert both[2]['overrides'] == {'epochs': 2, 'streams.pair.rho': 0.5}
  assert {'subset_seed', 'epochs', 'device', 'versions', 'commit'} <= both[0].keys()
  assert both[0]['versions'].keys() >= {'jax', 'flax', 'python'}
  capsys.readouterr()
  assert tables.run([*args, *places(tmp_path)]) == 0
  assert capsys.readouterr().out == ''  # nothing was left
  # the third seed alone, and its figures beside the others
  assert [j.seeds for j in planned.plan('tiny', 3, 3, 'ce', [], tmp_path, tmp_path / 'results')] \
    == [(2,)]  # fmt: skip
  text = report.markdown('tiny', tmp_path / 'results')
  mean = report.cell([r['last']['top1'] for r in both[:2]])
  assert f'| CE | `ce` | 2 | {mean} |' in text and 'Device: cpu.' in text


def test_a_diverged_row_does_not_stop_the_table(monkeypatch, quick, tmp_path, capsys):
  wild = ('wild', 'ce', {'optim.lr': 1e30})
  monkeypatch.setitem(TABLES, 'tiny', DIGITS | {'rows': [wild, ('CE', 'ce', {})]})
  assert tables.run(['--table=tiny', '--seeds=1', *places(tmp_path)]) == 1
  assert 'wild' in (err := capsys.readouterr().err) and 'NaN' in err and 'step' in err
  (row,) = book.ledger('tiny', tmp_path / 'results')
  assert row['overrides'] == {'epochs': 2} and 'NaN' not in json.dumps(row)


def test_a_diverged_seed_costs_the_others_nothing(tiny, monkeypatch, tmp_path):
  seen = []

  def train(job, stop):
    seen.append(job.seeds)
    if 1 in job.seeds:
      raise types.Diverged('The loss was NaN.')
    return [line(job.row.method, s, settings=job.run.settings) for s in job.seeds]

  monkeypatch.setattr(tables, 'run_job', train)
  assert tables.run(['--table=tiny', '--seeds=3', '--only=ce', *places(tmp_path)]) == 1
  assert seen == [(0, 1, 2), (0,), (1,), (2,)]
  assert [r['seed'] for r in book.ledger('tiny', tmp_path / 'results')] == [0, 2]


def test_missing_data_is_one_sentence(tmp_path, capsys):
  # a cache of its own: a set that was prepared there is found without its originals
  where = f'--config.data.dir={tmp_path / "none"}', f'--config.data.cache={tmp_path / "cache"}'
  args = ['--table=5', '--only=ce', *where, *places(tmp_path)]
  assert tables.run(args) == 1
  err = capsys.readouterr().err
  assert err.startswith('tables: ') and 'none' in err and err.count('\n') == 1


def test_a_wrong_override_is_one_sentence(tiny, tmp_path, capsys):
  assert tables.run(['--table=tiny', *places(tmp_path, '--config.epoch=2')]) == 1
  assert "did you mean 'epochs'" in capsys.readouterr().err


@pytest.mark.parametrize('word', ['--seeds=0', '--config.seed=3', '--budget=soon', '--table=6'])
def test_words_that_a_table_does_not_take(word, tmp_path, capsys):
  with pytest.raises(SystemExit):
    tables.run(['--table=digits', word])
  assert word.split('=')[0] in capsys.readouterr().err


# the report


def test_report_of_empty_ledgers_and_the_readme(tmp_path):
  readme = tmp_path / 'README.md'
  readme.write_text('a\n<!-- results digits -->\nold\n<!-- end digits -->\nb\n')
  report.write(tmp_path / 'results', tmp_path / 'docs', readme)
  text = readme.read_text()
  assert 'old' not in text and text.startswith('a\n') and text.endswith('\nb\n')
  assert '| CE | `ce` | 0 | - |' in text
  text = (tmp_path / 'docs' / 'results.md').read_text()
  assert '[Table 4](#table-4)' in text and '\n## Table 4\n' in text and '0 of 90' in text
  assert '| FASS | `fass` | 43.15 | | | | | | | | 43.15 to 44.03 |' in text
  assert '44.03 - 42.27 = 1.76' in text and 'RIDE+FASS is 50.91' in text and '6.05' in text
  # in tables 4 and 5, and in both of BagofTricks-LT
  assert text.count('imb_factor = 50\n') == 4
  assert 'nan' not in text.lower().replace('nant', '')


def test_report_of_filled_ledgers(tmp_path):
  def ce(seed, top1, factor, **more):
    given = {'overrides': {'imb_factor': float(factor)}, 'epochs': 200, 'config': 'cifar100_lt'}
    return line('ce', seed, top1, **given | more)

  few = {'last': dict.fromkeys(tables.KEPT, 0.3832) | {'few': None}}
  written(tmp_path, ce(0, 0.382, 100, **few), ce(1, 0.386, 100), ce(0, 0.44, 50),
          ce(0, 0.562, 10), ce(0, 0.2, 20), name='4')  # fmt: skip
  text = report.markdown('4', tmp_path / 'results')
  first, second, third = (s for s in text.splitlines() if s.startswith('| CE |'))
  # sd of 38.32 and 38.60 is .28 / sqrt 2; of 38.20 and 38.60 .4 / sqrt 2
  assert '| 38.46 | 38.40 | 2 | 38.46 | 38.46 | 38.60 |' in first
  assert first.endswith('| yes (38.20 to 38.80) |')
  assert second.endswith('| above (42.90 to 43.40) |') and '[Re]CUDA logs 42.92' in second
  assert third.endswith('| 56.20 | 56.20 | 1 | 56.20 | 56.20 | 56.20 | yes (56.20 to 56.80) |')
  tail = text[text.index('no row of the table') :]
  assert '`ce` `imb_factor=20.0`' in tail and '| 20.00 | 20.00 | 1 |' in tail


def test_rows_far_under_ce_need_a_reason(monkeypatch, tmp_path):
  table = DIGITS | {'rows': [('CE', 'ce', {}), ('a', 'ens', {}), ('b', 'cmo', {})], 'notes': {}}
  monkeypatch.setitem(TABLES, 'tiny', table)
  written(tmp_path, line('ce', 0, 0.9), line('ens', 0, 0.81), line('cmo', 0, 0.7))
  ledgers = book.by_run(book.everything(tmp_path / 'results'))
  assert report.unexplained(table, ledgers) == ['cmo']
  assert '`cmo`: 20.00. No reason found.' in report.markdown('tiny', tmp_path / 'results')
  table['notes']['cmo'] = 'It needs more epochs.'
  assert report.unexplained(table, ledgers) == []
  assert '`cmo`: 20.00. It needs more epochs.' in report.markdown('tiny', tmp_path / 'results')


def test_every_method_far_under_ce_on_digits_has_its_reason():
  ledgers = book.by_run(book.everything(runs.REPO / 'results'))
  assert report.unexplained(TABLES['digits_methods'], ledgers) == []


def test_the_report_in_the_docs_is_current(tmp_path):
  readme = tmp_path / 'README.md'
  readme.write_text((runs.REPO / 'README.md').read_text())
  report.write(runs.REPO / 'results', tmp_path, readme)
  assert readme.read_text() == (runs.REPO / 'README.md').read_text()
  assert (tmp_path / 'results.md').read_text() == (runs.REPO / 'docs/results.md').read_text()


def test_cells():
  assert report.cell([0.5, 0.6, 0.7]) == '60.00 ± 10.00'
  assert report.cell([0.5]) == '50.00' and report.cell([None]) == '-'
  assert tables.seconds('20m') == 1200 and tables.seconds('90') == 90
  assert [planned.duration(s) for s in (45, 720, 12600)] == ['45 s', '12 min', '3.5 h']
  assert math.isinf(tables.seconds('inf'))


def test_no_two_rows_of_the_digits_table_are_identical():
  rows = book.ledger('digits_methods', runs.REPO / 'results')
  assert len(rows) >= 5 * 40
  figures = [json.dumps([r['seed'], r['last']]) for r in rows]
  assert len(set(figures)) == len(figures)
  for method in ('ce', 'fass', 'random_mix'):
    assert len({r['seed'] for r in rows if r['method'] == method}) >= 5


def test_a_block_of_chosen_rows(monkeypatch, tmp_path):
  table = DIGITS | {
    'rows': [('CE', 'ce', {}, 38.1, {'a paper': 38.3}), ('FASS', 'fass', {}), ('CMO', 'cmo', {})],
  }
  monkeypatch.setitem(TABLES, 'tiny', table)
  written(
    tmp_path, line('ce', 0, 0.4), line('ce', 1, 0.5), line('ce', 2, 0.6), line('fass', 0, 0.5)
  )
  known = book.by_run(book.everything(tmp_path / 'results'))
  text = report.chosen_block('tiny', ('FASS', 'CE', 'CMO'), known).splitlines()
  # rows in the order that was asked for; the one without a run is left out; sd of three seeds alone
  assert text[4].startswith('| FASS | 50.00 | 50.00 |') and ' ± ' not in text[4]
  assert text[5].startswith('| CE | 50.00 ± 10.00 | 50.00 ± 10.00 |')
  assert text[5].endswith('| 3 | 38.10 | a paper 38.3 |') and len(text) == 6
  assert report.chosen_block('tiny', ('CMO',), known) == '**Tiny**: no run yet.'
  assert report.cell([0.4, 0.5]) == '45.00' and report.cell([0.4, 0.5, 0.6]) == '50.00 ± 10.00'
