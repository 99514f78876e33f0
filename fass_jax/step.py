"""The one train step: draws the streams, builds the views, minimises the weighted terms."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fass_jax.losses.combine import pair_loss, term_loss, total_loss
from fass_jax.nets.base import apply
from fass_jax.recipe import Recipe
from fass_jax.state import TrainState
from fass_jax.types import Array, Classes, Outputs, PyTree, Targets, Time


class Store(NamedTuple):
  """The training set on the device."""

  images: Array  # uint8 [N, H, W, 3]
  labels: Array  # int32 [N]
  classes: Classes


class Batch(NamedTuple):
  """What a stream drew."""

  index: Array  # type: ignore[assignment]  # int32 [n]
  labels: Array  # int32 [n]
  mask: Array  # bool [n], False: left out of losses, scores and counts


class Input(NamedTuple):
  """A view as it enters the network."""

  x: Array  # float32 [n, H, W, 3]
  targets: Targets
  mask: Array  # bool [n]
  labels: Array  # int32 [n], the own class
  lam: Array  # float32 [n], the share of the own image that was asked for
  lam_real: Array  # float32 [n], the share that came out


Plan = dict[str, tuple[Array, Array]]


def site(key: Array, name: str) -> Array:
  """Folds the name of a consumer into a key, so that adding one moves no other's draws."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def clock(recipe: Recipe, step: Array) -> Time:
  """Returns the time of a step."""
  epoch = step // recipe.steps_per_epoch
  return Time(step, epoch, step / (recipe.steps_per_epoch * recipe.epochs))


def active_views(recipe: Recipe, epoch: int, coins: dict[str, bool]) -> tuple[str, ...]:
  """Names the views that are on; each answer is one compiled program.

  Args:
    recipe: the recipe.
    epoch: 0-based.
    coins: by stream, whether its coin shows heads in this step; absent means on.
  """
  on = []
  for name, view in recipe.views.items():
    stream = recipe.streams[view.stream]
    if not (stream.skip_first and epoch == 0) and coins.get(view.stream, True):
      on.append(name)
  return tuple(on)


def init_tally(recipe: Recipe) -> PyTree:
  """Returns the empty sums of an epoch."""
  per_class = {k: jnp.zeros((recipe.num_classes,)) for k in ('drawn', 'lam', 'half', 'area')}
  mixing = [n for n, v in recipe.views.items() if v.mix is not None]
  # every leaf its own buffer: a donated state must not alias
  tally = {
    'bad_step': jnp.asarray(-1, jnp.int32),
    'loss': jnp.zeros(()),
    'seen': jnp.zeros(()),
    'correct': jnp.zeros(()),
    'terms': {n: {'sum': jnp.zeros(()), 'steps': jnp.zeros(())} for n in recipe.terms},
    'mixed': dict.fromkeys(mixing, per_class),
  }
  return jax.tree.map(jnp.array, tally)


def init_state(recipe: Recipe, key: Array, image_shape: tuple[int, int, int]) -> TrainState:
  """Returns the state of a run that has done nothing."""
  variables = recipe.net.init(site(key, 'init'), image_shape)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    opt_state=recipe.optimizer.init(variables['params']),
    signals={n: s.init(recipe.num_classes) for n, s in recipe.signals.items()},
    tally=init_tally(recipe),
    key=key,
  )


def plan_epoch(recipe: Recipe, key: Array, step: Array, store: Store) -> Plan:
  """Plans the streams that are planned once an epoch: `{stream: (index, mask)}`, `[steps, n]`."""
  epoch = step // recipe.steps_per_epoch
  plan = {}
  for name, stream in recipe.streams.items():
    if stream.sampler.scope == 'epoch':
      assert stream.sampler.draw is not None
      stream_key = site(key, f'plan/{name}')
      plan[name] = stream.sampler.draw(
        stream_key, store.classes, epoch, recipe.steps_per_epoch, stream.size
      )
  return plan


def draw_streams(
  recipe: Recipe, names: set[str], key: Array, t: Time, store: Store, plan: Plan
) -> dict[str, Batch]:
  """Draws the streams that are on; 'natural' always comes first."""
  row = t.step % recipe.steps_per_epoch
  batches: dict[str, Batch] = {}
  for name, stream in recipe.streams.items():
    if name not in names:
      continue
    mask = jnp.ones((stream.size,), bool)
    if stream.sampler.scope == 'epoch':
      index, mask = (x[row] for x in plan[name])
    elif stream.sampler.scope == 'copy':
      index, mask = (x[: stream.size] for x in (batches['natural'].index, batches['natural'].mask))
    else:
      assert stream.sampler.draw is not None
      index = stream.sampler.draw(site(key, f'sampler/{name}'), store.classes, stream.size, t)
    if stream.keep < 1:
      mask &= jax.random.bernoulli(site(key, f'gate/{name}'), stream.keep, mask.shape)
    batches[name] = Batch(index, store.labels[index], mask)
  return batches


def build_view(
  recipe: Recipe, name: str, batch: Batch, key: Array, signals: dict[str, Any], store: Store
) -> Input:
  """Loads, augments, normalises and mixes one view.

  Views of one stream with the same augmentation fold the same names into the key, so they see
  the same pixels (the compiler loads them once).
  """
  view = recipe.views[name]
  stream = recipe.streams[view.stream]
  full = jnp.ones(batch.labels.shape, jnp.float32)

  def load(index: Array, role: str) -> Array:
    load_key = site(key, f'augment/{view.stream}/{role}/{view.augment_name}')
    return recipe.normalise(view.augment(load_key, store.images[index], full))

  x = load(batch.index, 'own')
  if view.mix is None:
    targets = Targets(batch.labels, batch.labels, full)
    return Input(x, targets, batch.mask, batch.labels, full, full)
  assert stream.partner is not None and stream.ratio is not None and view.label is not None
  matrix = signals[stream.score].matrix if stream.score else None
  role = 'partner' if stream.shared else f'partner/{name}'
  partner_key = site(key, f'{role}/{view.stream}')
  partner = stream.partner(partner_key, batch.index, batch.labels, matrix, store.classes)
  labels_t = store.labels[partner]
  ratio_key = site(key, f'ratio/{view.stream}')
  lam = stream.ratio(ratio_key, matrix, batch.labels, labels_t)
  mixed, lam_real = view.mix(site(key, f'mix/{name}'), x, load(partner, role), lam)
  targets = Targets(*view.label(batch.labels, labels_t, lam_real))
  return Input(mixed, targets, batch.mask, batch.labels, lam, lam_real)


def forward(
  recipe: Recipe, params: PyTree, stats: PyTree, inputs: dict[str, Input]
) -> tuple[dict[str, Outputs], PyTree]:
  """Runs every group of views through the network, its running statistics group after group."""
  groups: dict[str, list[str]] = {}
  for name in inputs:
    groups.setdefault(recipe.views[name].group, []).append(name)
  outs: dict[str, Outputs] = {}
  for names in groups.values():
    x = jnp.concatenate([inputs[n].x for n in names]) if len(names) > 1 else inputs[names[0]].x
    out, stats = apply(recipe.net, {'params': params, 'batch_stats': stats}, x, True)
    start = 0
    for n in names:
      rows = slice(start, start + inputs[n].x.shape[0])
      outs[n] = out._replace(logits=out.logits[rows], features=out.features[rows])
      start = rows.stop
  return outs, stats


def update_tally(
  tally: PyTree, step: Array, total: Array, finite: Array, terms: dict[str, Array], natural: Any,
  inputs: dict[str, Input],
) -> PyTree:  # fmt: skip
  """Adds a step to the sums of the epoch."""
  inp, out = natural
  hit = (out.logits.mean(1).argmax(-1) == inp.labels) & inp.mask
  tally = dict(tally)
  tally['bad_step'] = jnp.where(finite | (tally['bad_step'] >= 0), tally['bad_step'], step)
  tally['loss'] += total
  tally['seen'] += inp.mask.sum()
  tally['correct'] += hit.sum()
  tally['terms'] = dict(tally['terms'])
  for name, value in terms.items():
    old = tally['terms'][name]
    tally['terms'][name] = {'sum': old['sum'] + value, 'steps': old['steps'] + 1}
  tally['mixed'] = dict(tally['mixed'])
  # in the dict's order: a set's depends on the process, and with it the compiled program
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


def train_step(
  recipe: Recipe, active: tuple[str, ...], state: TrainState, store: Store, plan: Plan
) -> tuple[TrainState, Array]:
  """Does one optimiser step.

  Args:
    recipe: static.
    active: static, the views that are on (`active_views`).
    state: the train state; donated by the compiled program.
    store: the training set on the device.
    plan: the running epoch's plan.

  Returns:
    The next state, and its step count as an array of its own: waiting for it waits for the step.
  """
  t = clock(recipe, state.step)
  key = jax.random.fold_in(state.key, state.step)
  names = {'natural', *(recipe.views[v].stream for v in active)}
  batches = draw_streams(recipe, names, key, t, store, plan)
  inputs = {
    v: build_view(recipe, v, batches[recipe.views[v].stream], key, state.signals, store)
    for v in active
  }
  context = (store.classes, state.signals, t)

  def loss_fn(params: PyTree) -> tuple[Array, Any]:
    outs, stats = forward(recipe, params, state.batch_stats, inputs)
    values = {}
    for name, term in recipe.terms.items():
      divisor = float(term.batch_size) if term.per_batch else None
      parts = [
        pair_loss(
          term.loss, outs[v], inputs[v].targets, inputs[v].mask, context,
          recipe.views[v].mixed_label, divisor,
        )
        for v in term.views if v in active
      ]  # fmt: skip
      if parts:
        values[name] = term_loss(parts)
    return total_loss(recipe.terms, values, t), (outs, stats, values)

  (total, (outs, stats, values)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
  updates, opt_state = recipe.optimizer.update(grads, state.opt_state, state.params)
  lr = recipe.learning_rate(t)
  params = jax.tree.map(lambda w, u: w - lr * u, state.params, updates)
  signals = {
    n: s.observe(state.signals[n], outs[s.view], inputs[s.view].targets, inputs[s.view].mask)
    for n, s in recipe.signals.items()
  }
  finite = jnp.isfinite(total + optax.tree.norm(grads))
  first = next(iter(inputs))
  tally = update_tally(
    state.tally, state.step, total, finite, values, (inputs[first], outs[first]), inputs
  )
  step = state.step + 1
  new = TrainState(step, params, stats, opt_state, signals, tally, state.key)
  return new, step.astype(jnp.float32)


def compile_step(
  recipe: Recipe, active: tuple[str, ...], *args: Any
) -> Callable[..., tuple[TrainState, Array]]:
  """Compiles the step for one set of active views, ahead of its first use."""
  step = jax.jit(functools.partial(train_step, recipe, active), donate_argnums=0)
  return step.lower(*args).compile()
