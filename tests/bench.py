"""The train step called directly: a recipe with all that its programs take, without a session.

A whole step compiles for seconds, of which it then runs for milliseconds. Where one or a few steps
are enough they are done operation by operation (`Bench.go`): each operation is compiled once for
all methods that have it. Where only shapes count a step is traced (`Bench.traced`).
"""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax import nets
from fass_jax.augment import chain
from fass_jax.data.load import load
from fass_jax.data.numbers import scale_of
from fass_jax.engine import programs, step
from fass_jax.engine.passes import make_fold
from fass_jax.engine.views import Store, site
from fass_jax.recipe.build import build
from fass_jax.report import metrics
from fass_jax.run.examples import own_store
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Inspector
from tests import runs, tiny
from tests.by_hand import confusions, variables, with_signals

# of their own accord these networks are small; 'real' is the one that the config names
NETS = {
  'real': lambda patch: None,
  'tiny': tiny.use_tiny_net,
  'linear': runs.use_linear_net,
}


@functools.cache
def digits():
  return load(runs.config_of())


@functools.cache
def _built_once(kind, build, *args, **how):
  """Returns a network whose passes are traced once a shape, however many recipes have it."""
  return tiny.jitted(build(*args, **how))


@functools.cache
def _ops_once():
  """Returns the ops of augmentation, each traced once a shape, whatever chain it stands in."""
  return {name: jax.jit(op) for name, op in chain.OPS.items()}


_CHAINS: dict[Any, Any] = {}


def quick(names, augment):
  """Returns a chain of ops as a program of its own: of some names there is one."""
  if 'cam' in names:  # it looks by a network of its own
    return augment
  if names not in _CHAINS:
    # it sees a batch: to optimise it takes longer than it then runs
    _CHAINS[names] = jax.jit(augment, compiler_options={'xla_backend_optimization_level': 0})
  return _CHAINS[names]


def ops_of(view):
  """Returns the names of a view's ops."""
  return tuple(view.augment_name.partition('#')[0].split('+'))


def with_quick_chains(recipe):
  """Returns a recipe whose views augment by programs that all recipes share."""
  views = {n: v._replace(augment=quick(ops_of(v), v.augment)) for n, v in recipe.views.items()}
  return recipe._replace(views=views)


@contextlib.contextmanager
def using(kind, shared=False):
  """Recipes that are built inside have a network of this kind, and may share its traces."""
  with pytest.MonkeyPatch.context() as patch:
    NETS[kind](patch)
    made = nets.build
    if shared:
      patch.setattr(nets, 'build', functools.partial(_built_once, kind, made))
    yield


class Run(NamedTuple):
  """What some steps of a run came to, or a whole run."""

  config: Any
  recipe: Any
  began: dict[str, Any]  # the signals before
  state: Any
  rows: list[dict[str, Any]]  # a record a step, or an epoch


def store_of(recipe, data):
  """Returns what a run trains on, without a session."""
  images, training = jnp.asarray(data.train_images), recipe.training
  if training.features is not None:
    images = recipe.net.embed(variables(recipe.net, 2), recipe.normalise(images), False)[0]
  if training.is_own:
    return own_store(recipe, data, images, jax.random.key(4))
  near, scale = data.neighbours, scale_of(data)
  classes = index_classes(data.train_labels, recipe.num_classes, near, scale=scale)
  values = None if scale is None else jnp.asarray(data.train_values)
  return Store(images, jnp.asarray(data.train_labels), classes, values=values)


class Bench:
  """A recipe of the digits, or of another data set, with what its programs take."""

  def __init__(self, *args, net='tiny', batch=8, config=None, data=None, shared=False):
    if config is None:
      sets = [f'--config.batch_size={batch}']
      if any('range' in a for a in args) and batch < 16:  # half of it has two classes all the same
        sets.append('--config.streams.groups.images=2')
      config = runs.config_of(*args, *sets)
    self.config, self.kind = config, net
    plain = config.data.held_out == 0 and not config.data.auxiliary
    self.data = data or (digits() if plain else load(config))
    teacher = config.net if config.teacher.run else None
    with using(net, shared):
      self.recipe = build(config, self.data, teacher)
    self.shape = self.data.image_shape
    told = None if teacher is None else self.shapes(self.recipe.teacher)
    self.store = store_of(self.recipe, self.data)._replace(teacher=told)

  def shapes(self, net):
    return jax.eval_shape(lambda key: net.init(key, self.shape), jax.random.key(0))

  # at the start of the second epoch

  def state(self, seed=0):
    """A state at the start of the second epoch, with scores."""
    state = step.init_state(self.recipe, jax.random.key(seed), self.shape)
    state = state._replace(step=jnp.asarray(self.recipe.steps_per_epoch, jnp.int32))
    if 'score' in state.signals:
      scored = state.signals['score']._replace(matrix=confusions())
      state = state._replace(signals=state.signals | {'score': scored})
    return state

  def plan(self, state):
    return step.plan_epoch(self.recipe, state.key, state.step, self.store)

  def run(self, states, key, calls, unroll=1, which=None):
    """Calls a program so often on each state; returns the states."""
    example = states[0], self.store, self.plan(states[0]), which
    program = programs.compile_program(self.recipe, key, unroll, *example)
    out = []
    for state in states:
      plan, state = self.plan(state), jax.tree.map(jnp.copy, state)
      for _ in range(calls):
        state, _ = program(state, self.store, plan, which)
      out.append(state)
    return out

  # only shapes

  def traced(self, epoch=1, seeds=0, chunk=1):
    """Traces a chunk of steps of an epoch, of several seeds at once; returns the state's shapes."""
    patterns = programs.patterns_of(self.recipe, epoch)
    state = jax.eval_shape(lambda: step.init_state(self.recipe, jax.random.key(0), self.shape))
    plan = jax.eval_shape(functools.partial(step.plan_epoch, self.recipe), state.key, state.step,
                          self.store)  # fmt: skip
    run = functools.partial(programs.run_steps, self.recipe, patterns, chunk, 1)
    which = jax.ShapeDtypeStruct((self.recipe.steps_per_epoch,), jnp.int32)
    which, store = which if len(patterns) > 1 else None, self.store
    if seeds:
      stacked = functools.partial(
        jax.tree.map, lambda x: jax.ShapeDtypeStruct((seeds, *x.shape), x.dtype)
      )
      state, plan = stacked(state), stacked(plan)
      axes = programs.axes_of_seeds(self.recipe)
      store = Store(*(part if axis is None else stacked(part) for part, axis in zip(store, axes)))
      run = jax.vmap(run, in_axes=(0, axes, 0, None))
    with pytest.MonkeyPatch.context() as patch:
      for name, op in _ops_once().items():
        patch.setitem(chain.OPS, name, op)
      return state, jax.eval_shape(run, state, store, plan, which)[0]

  # a few steps, operation by operation

  def before(self, number, seed=4):
    """A state before a step of the run, with the signals of a run that has come far."""
    if self.kind == 'linear':
      drawn = self.recipe.net.init(jax.random.key(seed), self.shape)
    else:
      drawn = variables(self.recipe.net, 2)
    state = step.init_state(self.recipe, jax.random.key(seed), self.shape, drawn)
    state = state._replace(step=jnp.asarray(number, jnp.int32))
    return state._replace(signals=with_signals(state.signals))

  def go(self, first, steps=2, seed=4):
    """Does some steps from step `first` of the run on; where an epoch ends, its signals too."""
    recipe = with_quick_chains(self.recipe)
    state, rows = self.before(first, seed), []
    began, per, plan = state.signals, self.recipe.steps_per_epoch, None
    for number in range(first, first + steps):
      epoch = number // per
      if plan is None or number % per == 0:
        plan = self.plan(state)
      active = step.active_views(self.recipe, epoch, {})
      state = step.train_step(recipe, active, state, self.store, plan)
      rows.append(row_of(jax.device_get(state.tally)))
      state = state._replace(tally=step.init_tally(self.recipe))
      if (number + 1) % per == 0:
        state = state._replace(signals=self.refreshed(state, epoch))
    return Run(self.config, recipe, began, state, rows)

  def refreshed(self, state, epoch):
    """Returns the signals after an epoch; CUDA's stay: its probe is a program of its own."""
    now = {'params': state.params, 'batch_stats': state.batch_stats}

    def fold(observe, acc, images=self.store.images, labels=self.store.labels):
      passed = make_fold(self.recipe, 1000)
      return passed(observe, acc, now, jnp.asarray(images), jnp.asarray(labels))

    held = functools.partial(fold, images=self.data.held_images, labels=self.data.held_labels)
    inspector = Inspector(fold, None, held)
    key = site(jax.random.fold_in(state.key, epoch), 'refresh')
    signals = dict(state.signals)
    for name, signal in self.recipe.signals.items():
      if signal.op != 'cuda':
        signals[name] = signal.refresh(signals[name], inspector, key, np.int32(epoch))
    return signals


def row_of(tally):
  """Turns the sums of a step into a record, as those of an epoch are."""
  terms = {n: float(v['sum']) if v['steps'] else None for n, v in tally['terms'].items()}
  mixed = metrics.mixing_diagnostics(tally['mixed'], {})
  return {'loss': float(tally['loss']), 'terms': terms, 'mixed': mixed}


LONG = 20  # epochs of a run whose late steps are done


@functools.cache
def steps_of(method, epoch, overrides=(), count=3):
  """Does the last step of an epoch of a method's run, and `count` - 1 of the next epoch.

  Args:
    method: on the digits.
    epoch: 0-based, of `LONG`.
    overrides: (key, value), ...
    count: of the steps.
  """
  sets = [f'--config.{key}={value}' for key, value in overrides]
  b = Bench(
    f'--config=digits_lt.py:{method}', f'--config.epochs={LONG}', *sets, batch=64, shared=True
  )
  return b.go((epoch + 1) * b.recipe.steps_per_epoch - 1, count)


def late(method):
  """Does steps late in a run: what is deferred to its last fifth is on."""
  return steps_of(method, int(0.8 * LONG))
