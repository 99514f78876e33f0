"""The compiled programs of a run: which there are, one step or many in a call, one seed or many.

A *pattern* is the tuple of views that are on in a step. A CPU gets a program for each pattern and
the host picks one each step. An accelerator gets a loop over a chunk of steps, which picks the
pattern itself: the host would be too slow. All are known before the first step and compiled then.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fass_jax.engine import compiler
from fass_jax.engine.step import active_views, train_step
from fass_jax.engine.views import Plan, Store
from fass_jax.recipe.build import Recipe
from fass_jax.types import Array, PyTree, TrainState

LONGEST = 128  # steps in a chunk that nobody asked for: a signal to stop waits for its end


class Key(NamedTuple):
  """What tells one program from another."""

  patterns: tuple[tuple[str, ...], ...]  # those that may occur in it
  length: int  # steps in a call
  batched: bool = False  # states and plans of several seeds, stacked


Program = Callable[..., tuple[TrainState, Array]]


def run_steps(
  recipe: Recipe,
  patterns: Sequence[tuple[str, ...]],
  length: int,
  unroll: int,
  state: TrainState,
  store: Store,
  plan: Plan,
  which: Array | None,
) -> tuple[TrainState, Array]:
  """Does a chunk of optimiser steps of one epoch.

  Args:
    recipe: static.
    patterns: static, the sets of active views that may occur.
    length: static, how many steps.
    unroll: static, how many of them are one turn of the loop; `length` leaves no loop.
    state: the train state; donated by the compiled program.
    store: the training set on the device.
    plan: the running epoch's plan.
    which: int32 `[steps_per_epoch]`, the pattern of each step; None where there is one.

  Returns:
    The next state, and its step count as an array of its own: waiting for it waits for the steps.
  """
  branches = [functools.partial(train_step, recipe, on) for on in patterns]
  alone = length == 1

  def one(state: TrainState, _: None) -> tuple[TrainState, None]:
    state = state if alone else keep_steps_apart(state)
    if which is None:
      return branches[0](state, store, plan), None
    pattern = which[state.step % recipe.steps_per_epoch]
    return jax.lax.switch(pattern, branches, state, store, plan), None

  if alone:
    state, _ = one(state, None)
  else:
    state, _ = jax.lax.scan(one, state, None, length=length, unroll=min(unroll, length))
  return state, jnp.asarray(state.step, float)


def keep_steps_apart(state: TrainState) -> TrainState:
  """Keeps XLA from fusing two steps of an unrolled chunk, which would round otherwise."""
  if jax.default_backend() != 'cpu':
    return jax.lax.optimization_barrier(state)
  # a CPU drops barriers before it fuses, but does not look through control flow
  arrays = state._replace(key=jnp.zeros(()))
  arrays = jax.lax.cond(
    state.step >= 0, lambda s: s, lambda s: jax.tree.map(jnp.zeros_like, s), arrays
  )
  return arrays._replace(key=state.key)


def compile_program(recipe: Recipe, key: Key, unroll: int, *args: Any) -> Program:
  """Compiles a program ahead of its first use; `args` (or their shapes) as for `run_steps`."""
  run = functools.partial(run_steps, recipe, key.patterns, key.length, unroll)
  if key.batched:
    # the set is shared; every seed has its own state, teacher and plan
    shared = Store(None, None, None, teacher=0, pixels=None)  # type: ignore[arg-type]
    run = jax.vmap(run, in_axes=(0, shared, 0, None))
  # a state stays where it is, whatever the compiler would like better
  lowered = jax.jit(run, donate_argnums=0, out_shardings=recipe.where.whole).lower(*args)
  return lowered.compile(compiler_options=compiler.compiler_options())


def patterns_of(recipe: Recipe, epoch: int) -> tuple[tuple[str, ...], ...]:
  """Returns the patterns that may occur in an epoch, by the faces of all its coins."""
  coins = [n for n, s in recipe.streams.items() if s.on_share < 1]
  found = (
    active_views(recipe, epoch, dict(zip(coins, faces)))
    for faces in itertools.product((True, False), repeat=len(coins))
  )
  return tuple(dict.fromkeys(found))


def chunk_length(asked: int, steps_per_epoch: int) -> int:
  """Returns the steps of a chunk: what was asked for, at most an epoch; 0 leaves the choice.

  Left to choose, a CPU takes single steps, because XLA's convolutions are some 30 times slower
  inside a compiled loop there (jax-ml/jax#12868); an accelerator takes an epoch or an equal part.
  """
  if asked:
    return min(asked, steps_per_epoch)
  if jax.default_backend() == 'cpu':
    return 1
  calls = -(-steps_per_epoch // LONGEST)
  return -(-steps_per_epoch // calls)


def chunks(first: int, total: int, chunk: int) -> Iterator[tuple[int, int]]:
  """Cuts the rest of an epoch into `(first step, length)`, at multiples of the chunk.

  However often a run is stopped, its chunks begin where those of an undisturbed run do.
  """
  while first < total:
    end = min((first // chunk + 1) * chunk, total)
    yield first, end - first
    first = end


def needed(recipe: Recipe, chunk: int, epoch: int, first: int, batched: bool) -> list[Key]:
  """Lists the programs of the rest of a run, the first one first."""
  keys: dict[Key, None] = {}
  total = recipe.steps_per_epoch
  # all epochs but the first are alike
  for e, begin in ((epoch, first), (epoch + 1, 0), (epoch + 2, 0)):
    if e >= recipe.epochs:
      break
    patterns = patterns_of(recipe, e)
    for _, length in chunks(begin, total, chunk):
      split = [(on,) for on in patterns] if chunk == 1 else [patterns]
      keys |= dict.fromkeys(Key(p, length, batched) for p in split)
  return list(keys)


def compile_all(
  recipe: Recipe,
  keys: Sequence[Key],
  unroll: int,
  state: TrainState,
  store_of: Callable[[Key], Store],
  plan: Plan,
) -> dict[Key, Program]:
  """Compiles programs side by side; of `state`, stores and `plan` only the shapes count."""
  which = jax.ShapeDtypeStruct((recipe.steps_per_epoch,), jnp.int32, sharding=recipe.where.whole)

  def compiled(key: Key) -> Program:
    choice = which if len(key.patterns) > 1 else None
    return compile_program(recipe, key, unroll, state, store_of(key), plan, choice)

  with ThreadPoolExecutor(max_workers=4) as pool:
    return dict(zip(keys, pool.map(compiled, keys)))


@jax.jit
def stack(trees: Sequence[PyTree]) -> PyTree:
  """Joins trees of equal shapes along a new first axis."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@functools.partial(jax.jit, static_argnums=1)
def unstack(tree: PyTree, n: int) -> list[PyTree]:
  """Takes apart what `stack` joined."""
  return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(n)]
