"""The compiled programs of a run, for one or many steps and one or many seeds per call.

A *pattern* is the tuple of active views of a step. On a CPU there is one program per pattern, and
the host selects one per step. On an accelerator a program loops over a chunk of steps and selects
the pattern itself, because the host would be too slow. All programs are known and compiled before
the first step.
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

LONGEST = 128  # most steps in a chunk by default, because a stop signal waits for its end


class Key(NamedTuple):
  """The properties that identify a program."""

  patterns: tuple[tuple[str, ...], ...]  # the patterns that may occur
  length: int  # steps per call
  batched: bool = False  # True: states and plans of several seeds, stacked


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
  """Performs a chunk of optimiser steps within an epoch.

  Args:
    recipe: static.
    patterns: static, the patterns that may occur.
    length: static, the number of steps.
    unroll: static, the number of steps per loop iteration; `length` means no loop.
    state: the train state; donated by the compiled program.
    store: the training set on the device.
    plan: the plan of the current epoch.
    which: int32 `[steps_per_epoch]`, the pattern of each step; None if there is only one.

  Returns:
    The next state, and its step count as a separate array, which callers can wait for.
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
  """Prevents XLA from fusing two steps of an unrolled chunk, which would change rounding."""
  if jax.default_backend() != 'cpu':
    return jax.lax.optimization_barrier(state)
  # on a CPU, XLA removes barriers before fusion, but it does not fuse across control flow
  arrays = state._replace(key=jnp.zeros(()))
  arrays = jax.lax.cond(
    state.step >= 0, lambda s: s, lambda s: jax.tree.map(jnp.zeros_like, s), arrays
  )
  return arrays._replace(key=state.key)


def compile_program(recipe: Recipe, key: Key, unroll: int, *args: Any) -> Program:
  """Compiles a program before its first use; `args` are those of `run_steps`, or their shapes."""
  run = functools.partial(run_steps, recipe, key.patterns, key.length, unroll)
  if key.batched:
    run = jax.vmap(run, in_axes=(0, axes_of_seeds(recipe), 0, None))
  # fix the sharding of the state; the compiler could choose another one
  lowered = jax.jit(run, donate_argnums=0, out_shardings=recipe.where.whole).lower(*args)
  return lowered.compile(compiler_options=compiler.compiler_options())


def axes_of_seeds(recipe: Recipe) -> Store:
  """Returns where the store of several seeds is stacked: 0, or None for what they share.

  Each has its own teacher, and its own training examples if the recipe says so.
  """
  own: Any = 0 if recipe.training.is_own else None
  return Store(own, own, own, teacher=0, there=own, pixels=None)  # type: ignore[arg-type]


def patterns_of(recipe: Recipe, epoch: int) -> tuple[tuple[str, ...], ...]:
  """Returns the patterns that may occur in an epoch, from all outcomes of its coins."""
  coins = [n for n, s in recipe.streams.items() if s.on_share < 1]
  found = (
    active_views(recipe, epoch, dict(zip(coins, outcome)))
    for outcome in itertools.product((True, False), repeat=len(coins))
  )
  return tuple(dict.fromkeys(found))


def chunk_length(asked: int, steps_per_epoch: int) -> int:
  """Returns the steps per chunk: the requested number, at most an epoch; 0 selects a default.

  The default on a CPU is 1, because XLA's convolutions are about 30 times slower in a compiled loop
  there (jax-ml/jax#12868). On an accelerator it is an epoch or an equal part of an epoch.
  """
  if asked:
    return min(asked, steps_per_epoch)
  if jax.default_backend() == 'cpu':
    return 1
  calls = -(-steps_per_epoch // LONGEST)
  return -(-steps_per_epoch // calls)


def chunks(first: int, total: int, chunk: int) -> Iterator[tuple[int, int]]:
  """Yields the rest of an epoch as chunks `(first step, length)`, aligned to multiples of `chunk`.

  A resumed run therefore has the same chunk boundaries as an uninterrupted run.
  """
  while first < total:
    end = min((first // chunk + 1) * chunk, total)
    yield first, end - first
    first = end


def needed(recipe: Recipe, chunk: int, epoch: int, first: int, batched: bool) -> list[Key]:
  """Returns the programs for the rest of a run, in the order of their first use."""
  keys: dict[Key, None] = {}
  total = recipe.steps_per_epoch
  # all epochs but the first have the same programs
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
  """Compiles programs in parallel; only the shapes of `state`, stores and `plan` matter."""
  which = jax.ShapeDtypeStruct((recipe.steps_per_epoch,), jnp.int32, sharding=recipe.where.whole)

  def compiled(key: Key) -> Program:
    choice = which if len(key.patterns) > 1 else None
    return compile_program(recipe, key, unroll, state, store_of(key), plan, choice)

  with ThreadPoolExecutor(max_workers=4) as pool:
    return dict(zip(keys, pool.map(compiled, keys)))


@jax.jit
def stack(trees: Sequence[PyTree]) -> PyTree:
  """Stacks trees of equal shapes along a new first axis."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@functools.partial(jax.jit, static_argnums=1)
def unstack(tree: PyTree, n: int) -> list[PyTree]:
  """Splits the result of `stack` into its n trees."""
  return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(n)]
