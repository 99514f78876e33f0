"""The train step of all methods: draws streams, builds views, minimises the weighted terms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from fass_jax.engine.forward import forward, join, teacher_logits
from fass_jax.engine.views import (
  Input,
  Plan,
  Store,
  build_view,
  draw_partner,
  draw_streams,
  partner_role,
  site,
)
from fass_jax.losses.combine import pair_loss, term_loss, total_loss
from fass_jax.recipe import optimiser
from fass_jax.recipe.build import Recipe
from fass_jax.recipe.tasks import Task
from fass_jax.types import Array, Context, Outputs, PyTree, Term, Time, TrainState


def clock(recipe: Recipe, step: Array) -> Time:
  """Returns the time of a step."""
  epoch = step // recipe.steps_per_epoch
  return Time(step, epoch, step / (recipe.steps_per_epoch * recipe.epochs))


def active_views(recipe: Recipe, epoch: int, coins: dict[str, bool]) -> tuple[str, ...]:
  """Returns the active views of a step, which determine the compiled program.

  Args:
    recipe: the recipe.
    epoch: 0-based.
    coins: stream -> True if its views are on in this step; a missing stream is on.
  """
  on = []
  for name, view in recipe.views.items():
    stream = recipe.streams[view.stream]
    if not (stream.off_in_first_epoch and epoch == 0) and coins.get(view.stream, True):
      on.append(name)
  return tuple(on)


def init_tally(recipe: Recipe) -> PyTree:
  """Returns the sums at the start of an epoch."""
  per_class = {k: jnp.zeros((recipe.num_classes,)) for k in ('drawn', 'lam', 'half', 'area')}
  mixing = [n for n, v in recipe.views.items() if v.mix is not None]
  # a separate buffer per leaf: a donated state must not alias
  tally = {
    'bad_step': jnp.asarray(-1, jnp.int32),
    'lr': jnp.zeros(()),
    'loss': jnp.zeros(()),
    'seen': jnp.zeros(()),
    **{name: jnp.zeros(()) for name in recipe.task.tally},
    'terms': {n: {'sum': jnp.zeros(()), 'steps': jnp.zeros(())} for n in recipe.terms},
    'mixed': dict.fromkeys(mixing, per_class),
  }
  return jax.tree.map(jnp.array, tally)


def init_state(
  recipe: Recipe, key: Array, image_shape: tuple[int, ...], variables: PyTree | None = None
) -> TrainState:
  """Returns the initial state of a run; draws the network's variables if they are not given."""
  if variables is None:
    variables = draw_variables(recipe, key, image_shape)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    opt_state=recipe.optimizer.init(variables['params']),
    signals={n: s.init(recipe.num_classes) for n, s in recipe.signals.items()},
    tally=init_tally(recipe),
    key=key,
  )


def draw_variables(recipe: Recipe, key: Array, image_shape: tuple[int, ...]) -> PyTree:
  """Draws the network's initial variables from the run's key."""
  return recipe.net.init(site(key, 'init'), image_shape)


def plan_epoch(
  recipe: Recipe, key: Array, step: Array, store: Store, signals: dict[str, PyTree] | None = None
) -> Plan:
  """Draws the streams with scope 'epoch': `{stream: (index, mask)}`, each `[steps, n]`.

  With `signals`, the plan also has the positions that are otherwise drawn inside the step, because
  decoding in advance needs them: the other streams, and the partners as `{stream/role: (index,
  mask)}`. The draws are the same.
  """
  epoch = step // recipe.steps_per_epoch
  plan = {}
  for name, stream in recipe.streams.items():
    if stream.sampler.scope == 'epoch':
      assert stream.sampler.draw is not None
      stream_key = site(key, f'plan/{name}')
      plan[name] = stream.sampler.draw(
        stream_key, store.classes, epoch, recipe.steps_per_epoch, stream.size
      )
  if signals is None:
    return plan

  def positions(number: Array) -> Plan:
    step_key = jax.random.fold_in(key, number)
    time, every = clock(recipe, number), set(recipe.streams)
    batches = draw_streams(recipe, every, step_key, time, store, plan)
    found = {n: (b.index, b.mask) for n, b in batches.items()}
    for name, view in recipe.views.items():
      if view.mix is not None and not view.mixes_features:
        batch = batches[view.stream]
        partner = draw_partner(recipe, name, batch, step_key, signals, store)
        found[f'{view.stream}/{partner_role(recipe, name)}'] = partner, batch.mask
    return found

  # step by step: the score matrix's rows for all steps at once would need too much memory
  return jax.lax.map(positions, epoch * recipe.steps_per_epoch + jnp.arange(recipe.steps_per_epoch))


def update_tally(
  task: Task,
  tally: PyTree,
  step: Array,
  lr: Array,
  total: Array,
  finite: Array,
  terms: dict[str, Array],
  natural: Any,
  inputs: dict[str, Input],
) -> PyTree:
  """Adds a step to the sums of the epoch."""
  inp, out = natural
  tally = dict(tally)
  tally['bad_step'] = jnp.where(finite | (tally['bad_step'] >= 0), tally['bad_step'], step)
  tally['lr'] = jnp.asarray(lr, float)
  tally['loss'] += total
  tally['seen'] += inp.mask.sum()
  for name, answers in task.tally.items():
    # where instead of a product: a masked row may be nan
    tally[name] += jnp.where(inp.mask, answers(out, inp.labels, inp.targets.value), 0).sum()
  tally['terms'] = dict(tally['terms'])
  for name, value in terms.items():
    old = tally['terms'][name]
    tally['terms'][name] = {'sum': old['sum'] + value, 'steps': old['steps'] + 1}
  tally['mixed'] = dict(tally['mixed'])
  # in the dict's order: the order of a set would differ between processes and change the program
  for name in [n for n in tally['mixed'] if n in inputs]:
    v, old = inputs[name], tally['mixed'][name]
    rows: dict[str, Any] = {
      'drawn': 1.0,
      'lam': v.lam,
      'half': v.lam < 0.5,
      'area': 1.0 - v.lam_real,
    }
    tally['mixed'][name] = {
      k: old[k].at[v.labels].add(jnp.where(v.mask, x, 0.0)) for k, x in rows.items()
    }
  return tally


def term_parts(
  recipe: Recipe, term: Term, outs: dict[str, Outputs], inputs: dict[str, Input], context: Context
) -> list[Array]:
  """Returns the scalars that a term sums: one per active view and part of its loss."""
  divisor = float(term.batch_size) if term.per_batch else None
  views = [v for v in term.views if v in inputs]
  if term.joint and views:
    out, targets, mask = join([outs[v] for v in views], [inputs[v] for v in views])
    mixed = any(recipe.views[v].mixed_label for v in views)
    every = divisor and divisor * len(views)  # the joint batch has the rows of all views
    return [
      pair_loss(f, out, targets, mask, context, mixed, every, term.labels) for f in term.losses
    ]
  return [
    pair_loss(
      loss,
      outs[v],
      inputs[v].targets,
      inputs[v].mask,
      context,
      recipe.views[v].mixed_label,
      divisor,
      term.labels,
    )
    for v in views
    for loss in term.losses
  ]


def observed(
  recipe: Recipe, state: TrainState, outs: dict[str, Outputs], inputs: dict[str, Input]
) -> dict[str, PyTree]:
  """Returns the signals after a step: each has seen its view, or all active ones."""
  signals = dict(state.signals)
  for name, signal in recipe.signals.items():
    for view in inputs if signal.every else (signal.view,):
      inp = inputs[view]
      signals[name] = signal.observe(signals[name], outs[view], inp.targets, inp.mask)
  return signals


def train_step(
  recipe: Recipe, active: tuple[str, ...], state: TrainState, store: Store, plan: Plan
) -> TrainState:
  """Performs one optimiser step.

  Args:
    recipe: static.
    active: static, the active views (`active_views`).
    state: the train state.
    store: the training set and the teacher on the device.
    plan: the plan of the current epoch.

  Returns:
    The next state.
  """
  t = clock(recipe, state.step)
  key = jax.random.fold_in(state.key, state.step)
  names = {'natural', *(recipe.views[v].stream for v in active)}
  batches = draw_streams(recipe, names, key, t, store, plan)
  inputs = {
    v: build_view(recipe, v, batches[recipe.views[v].stream], key, state.signals, t, store, plan)
    for v in active
  }
  context = Context(store.classes, state.signals, t)
  from_teacher = teacher_logits(recipe, inputs, store)

  def loss_fn(params: PyTree) -> tuple[Array, Any]:
    held = optimiser.freeze(params, recipe.only)
    outs, stats = forward(recipe, held, state.batch_stats, inputs, state.signals, t)
    outs = {v: out._replace(teacher=from_teacher.get(v)) for v, out in outs.items()}
    values = {
      name: term_loss(parts)
      for name, term in recipe.terms.items()
      if (parts := term_parts(recipe, term, outs, inputs, context))
    }
    return total_loss(recipe.terms, values, t), (outs, stats, values)

  (total, (outs, stats, values)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
  updates, opt_state = recipe.optimizer.update(grads, state.opt_state, state.params)
  lr = recipe.learning_rate(t)
  # with JAX_ENABLE_X64 the rate is float64, even if the network is not
  params = jax.tree.map(lambda w, u: (w - lr * u).astype(w.dtype), state.params, updates)
  signals = observed(recipe, state, outs, inputs)
  finite = jnp.isfinite(total + optax.tree.norm(grads))
  first = next(iter(inputs))
  seen = inputs[first], outs[first]
  tally = update_tally(
    recipe.task, state.tally, state.step, lr, total, finite, values, seen, inputs
  )
  return TrainState(state.step + 1, params, stats, opt_state, signals, tally, state.key)
