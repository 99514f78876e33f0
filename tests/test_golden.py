"""One step of every method, late in a run and with everything on, is held to recorded numbers.

What a method adds is active in it; its rows in the thesis' tables are in test_rows.py.

`python -m tests.test_golden --renew` writes the lines anew that have changed.
"""

import functools
import itertools
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.classifiers.base import logits
from fass_jax.config.deltas import flatten, methods
from fass_jax.config.stages import split
from fass_jax.data.load import load
from fass_jax.engine.passes import make_fold
from fass_jax.engine.step import active_views, init_state, plan_epoch, train_step
from fass_jax.nets.base import apply
from fass_jax.recipe.build import build
from fass_jax.recipe.classifier import chosen
from fass_jax.report.judge import Material, judge
from tests import bench, pieces, runs
from tests.by_hand import CLASSES, variables, with_signals
from tests.test_rows import THESIS

FILE = pathlib.Path(__file__).parent / 'golden' / 'steps.json'
HOW = 'renew only if the change is meant: python -m tests.test_golden --renew'
NEAR, TINY = 1e-5, 1e-6  # relative; absolute, of values near zero
LATE = 0.85  # of a run: deferred weights and samplers, late temperatures
SEED = 4  # CMO's coin shows heads in its late step
# what the earlier run is called, which is made by hand
EARLIER = {'distill': '--config.teacher.run=earlier', 'ride_router': '--config.start.run=earlier'}
# methods whose late step is the same by identity; of first stages see FIRST
ALIKE = {
  frozenset({'balanced_softmax', 'logit_adjustment'}),  # the second with tau = 1 is the first
}
# what trains a first stage
FIRST = {
  **dict.fromkeys(('borderline_smote', 'cam_drs', 'cb_head', 'crt', 'lws', 'smote'), 'ce'),
  'dive': 'balanced_softmax',
  'rrt': 'l1',
}
# one step: to optimise it takes longer than it then runs
QUICK = {'xla_backend_optimization_level': 0}


def norm(tree):
  """Returns the length of all leaves together, summed in float64."""
  squares = (np.square(np.asarray(x, np.float64)).sum() for x in jax.tree.leaves(tree))
  return float(np.sqrt(sum(squares)))


def minus(a, b, times=1.0):
  """Returns a - times * b, leaf by leaf, in float64."""
  return jax.tree.map(lambda x, y: np.asarray(x, np.float64) - times * np.asarray(y), a, b)


class Trial:
  """A stage of a method as its recipe, and a step of it.

  The step is done operation by operation, as in bench.py: methods share most of their operations,
  which are compiled once. `compiled` makes one program of it, as a run does.
  """

  def __init__(self, config, compiled=False):
    self.config, self.data = config, load(config)
    # late steps are small; they have to stand out from the rounding of the weights
    config.optim.lr *= 100.0
    teacher = config.net if config.teacher.run else None
    with bench.using('tiny', shared=not compiled):
      self.recipe = build(config, self.data, teacher)
    self.shape = self.data.image_shape
    told = None if teacher is None else variables(self.recipe.teacher, 5, self.shape)
    self.store = bench.store_of(self.recipe, self.data)._replace(teacher=told)
    active = active_views(self.recipe, 1, {})
    recipe = self.recipe if compiled else bench.with_quick_chains(self.recipe)

    def step(state, store):
      plan = plan_epoch(recipe, state.key, state.step, store)
      return train_step(recipe, active, state, store, plan)

    self.step = jax.jit(step, compiler_options=QUICK) if compiled else step

  def state(self, epoch):
    """Returns the state before the last step of an epoch, whose batch may have fillers."""
    recipe = self.recipe
    start = init_state(
      recipe, jax.random.key(SEED), self.shape, variables(recipe.net, 2, self.shape)
    )
    return start._replace(
      step=jnp.asarray((epoch + 1) * recipe.steps_per_epoch - 1, jnp.int32),
      opt_state=jax.tree.map(lambda v: jnp.full_like(v, 0.01), start.opt_state),
      signals=with_signals(start.signals),
    )

  def run(self):
    """Does an early step and a late one, the second to go on with."""
    before = self.state(int(LATE * self.recipe.epochs))
    after = self.step(before, self.store)
    tallies = jax.device_get([self.step(self.state(1), self.store).tally, after.tally])
    rows = [bench.row_of(tally) for tally in tallies]
    return bench.Run(self.config, self.recipe, before.signals, after, rows), before, tallies

  def numbers(self, run, before, tallies):
    """Returns what the steps came to."""
    after, (early, tally) = run.state, tallies
    line = {
      'loss': tally['loss'],
      'terms': {name: term['sum'] for name, term in tally['terms'].items()},
      # with the decay of the weights, as it comes to the momentum
      'gradient': norm(minus(after.opt_state, before.opt_state, self.config.optim.momentum)),
      'change': norm(minus(after.params, before.params)),
      'statistics': norm(after.batch_stats),
      'rate': tally['lr'],
      'seen': tally['seen'],
      'early': {'loss': early['loss'], 'rate': early['lr']},
    }
    if self.recipe.signals:
      line['signals'] = {
        name: {key: norm(x) for key, x in state._asdict().items()}
        for name, state in after.signals.items()
      }
    if tally['mixed']:
      line['mixed'] = {
        view: {key: x.sum() for key, x in sums.items()} for view, sums in tally['mixed'].items()
      }
    if self.config.classifier != 'trained' or self.config.method == 'ce':
      line['test'] = self.classified({'params': after.params, 'batch_stats': after.batch_stats})
    return line

  def classified(self, trained):
    """Returns what the classifier makes of a network, on the test set."""
    recipe, data = self.recipe, self.data
    classifier = chosen(self.config, data)
    test = jnp.asarray(data.test_images), jnp.asarray(data.test_labels)
    held = None
    if data.held_labels is not None:
      held = jnp.asarray(data.held_images), jnp.asarray(data.held_labels)
    fold = make_fold(recipe, 1000, lambda outs: outs)
    train = self.store.images, self.store.labels
    meets = Material(recipe.net, data.image_shape, fold, train, held, test, CLASSES, 15)
    with pytest.MonkeyPatch.context() as patch:
      runs.compile_quickly(patch, 0)
      fitted = judge(classifier, meets).fit(trained)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def scores(trained, images, fitted):
      outs, _ = apply(recipe.net, trained, recipe.normalise(images), False)
      return logits(classifier, outs, fitted)

    z = np.asarray(scores(trained, test[0], fitted), np.float64)
    own = z[np.arange(len(z)), data.test_labels]
    return {
      'nll': float((np.log(np.exp(z).sum(1)) - own).mean()),
      'top1': float((z.argmax(1) == data.test_labels).mean()),
      'size': float(np.abs(z).mean()),
    }


def rounded(line):
  return jax.tree.map(lambda x: float(f'{float(x):.8g}'), line)


def lines_of(method, look=lambda run: None):
  """Returns the numbers of a method, `{method or method/stage: line}`; `look` sees each run."""
  sets = [EARLIER[method]] if method in EARLIER else []
  data = 'diabetes' if method in runs.OF_NUMBERS else 'digits_lt'
  config = runs.config_of(
    f'--config={data}.py:{method}', '--config.engine.precision=float32', *sets
  )
  found = {}
  for part in split(config, pathlib.Path('run')):
    name = f'{method}/{part.name}' if part.name else method
    trial = Trial(part.config)
    run = trial.run()
    look(run[0])
    found[name] = rounded(trial.numbers(*run))
  return found


@functools.cache
def recorded():
  return json.loads(FILE.read_text())


def agree(a, b):
  return abs(a - b) <= max(NEAR * abs(b), TINY)


def unlike(line, other):
  """Returns the numbers that two lines both have and that differ."""
  a, b = flatten(line), flatten(other)
  return [key for key in a.keys() & b.keys() if not agree(a[key], b[key])]


def test_every_method_has_its_line():
  there = {name.partition('/')[0] for name in recorded()}
  new, gone = sorted(methods().keys() - there), sorted(there - methods().keys())
  assert not new, f'{new} have no line in {FILE.name}; add it: python -m tests.test_golden --renew'
  assert not gone, f'{FILE.name} has lines of {gone}, which are no methods any more; {HOW}'


@pytest.mark.parametrize('method', sorted(methods()))
def test_a_step_comes_to_what_is_recorded(method):
  alone = method in pieces.ACTIVE and method not in THESIS
  got = lines_of(method, pieces.assert_active if alone else lambda run: None)
  want = {k: v for k, v in recorded().items() if k.partition('/')[0] == method}
  assert got.keys() == want.keys(), f'{method} has other stages than {FILE.name}; {HOW}'
  wrong = []
  for name in got:
    now, then = flatten(got[name]), flatten(want[name])
    assert now.keys() == then.keys(), f'{name}: {now.keys() ^ then.keys()} came or went; {HOW}'
    wrong += [f'{name} {k}: {then[k]} -> {now[k]}' for k in now if not agree(now[k], then[k])]
  assert not wrong, '\n'.join([*wrong, HOW])


def test_the_step_as_one_program_comes_to_the_same():
  config = runs.config_of('--config=digits_lt.py:fass', '--config.engine.precision=float32')
  trial = Trial(config, compiled=True)
  now, then = flatten(rounded(trial.numbers(*trial.run()))), flatten(recorded()['fass'])
  assert now.keys() == then.keys()
  assert not [k for k in now if not agree(now[k], then[k])]


def test_no_two_methods_do_the_same():
  """Of a first stage this holds for the method that it is; `early` tells what is deferred."""
  lines = {k: v for k, v in recorded().items() if not k.endswith('/first')}
  pairs = itertools.combinations(lines, 2)
  alike = {frozenset(pair) for pair in pairs if not unlike(*(lines[name] for name in pair))}
  assert alike == ALIKE, f'only one of these sets has {[sorted(x) for x in alike ^ ALIKE]}'


def test_a_first_stage_is_the_plain_method():
  first = {name.partition('/')[0] for name in recorded() if name.endswith('/first')}
  assert first == FIRST.keys()
  for name, plain in FIRST.items():
    assert not unlike(recorded()[f'{name}/first'], recorded()[plain]), name


def test_what_is_left_to_chance_is_on():
  """A step that CMO's coin leaves as it is would hold it to the numbers of CE."""
  for name, line in recorded().items():
    for view, sums in line.get('mixed', {}).items():
      assert sums['area'] > 0.05 * sums['drawn'] > 0, (name, view)


def renew():
  jax.config.update('jax_platforms', 'cpu')
  lines, old = {}, recorded() if FILE.exists() else {}
  for method in sorted(methods()):
    for name, line in lines_of(method).items():
      then = old.get(name, {})
      same = flatten(line).keys() == flatten(then).keys() and not unlike(line, then)
      lines[name] = then if same else line
      print(name, 'stays' if same else 'is new', flush=True)
  rows = ',\n'.join(f'{json.dumps(name)}: {json.dumps(line)}' for name, line in lines.items())
  FILE.parent.mkdir(exist_ok=True)
  FILE.write_text(f'{{\n{rows}\n}}\n')


if __name__ == '__main__':
  if sys.argv[1:] != ['--renew']:
    sys.exit('python -m tests.test_golden --renew writes the lines anew that have changed.')
  renew()
