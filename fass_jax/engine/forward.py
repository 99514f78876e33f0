"""Forward passes of a step's views through the network and the teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fass_jax.engine.views import Input, Store
from fass_jax.nets import fold_statistics
from fass_jax.nets.base import apply
from fass_jax.recipe.build import Recipe
from fass_jax.types import Array, Outputs, PyTree, Targets, Time

Mixers = dict[str, Callable[[Array], Array] | None]  # group of views -> mix, see `between`


def between(
  recipe: Recipe,
  names: Sequence[str],
  inputs: dict[str, Input],
  signals: dict[str, PyTree] | None = None,
  t: Time | None = None,
) -> Callable[[Array], Array] | None:
  """Returns what happens to the features of concatenated views before the head, None if nothing.

  A signal changes the features of the view that it watches; then they are mixed.

  Args:
    recipe: static.
    names: of the views.
    inputs: per view.
    signals: their states; None: no signal changes features, as in evaluation.
    t: the time.
  """
  states = signals or {}
  change = {
    n: [(s.between, states[k]) for k, s in recipe.signals.items() if s.between and s.view == n]
    for n in (names if states else ())
  }
  if not any(recipe.views[n].mixes_features or change.get(n) for n in names):
    return None

  def apart(features: Array) -> Array:
    parts, start = [], 0
    for n in names:
      view, inp = recipe.views[n], inputs[n]
      own = features[start : start + inp.x.shape[0]]
      start += inp.x.shape[0]
      for moved, state in change.get(n, ()):
        own = moved(state, own, inp.targets, t)
      if view.mixes_features:
        assert view.mix is not None
        own = view.mix(None, own, own[inp.rows], inp.lam)[0]
      parts.append(own)
    return jnp.concatenate(parts)

  return apart


def forward(
  recipe: Recipe,
  params: PyTree,
  stats: PyTree,
  inputs: dict[str, Input],
  signals: dict[str, PyTree] | None = None,
  t: Time | None = None,
) -> tuple[dict[str, Outputs], PyTree]:
  """Applies the network to each group of views and updates the running statistics group by group.

  With `recipe.vmapped`, groups of equal shape are a single pass with `vmap` over the groups. Each
  group still has its own batch statistics, and the running statistics equal those after separate
  passes.

  Returns:
    The outputs per view, and the new running statistics.
  """
  groups: dict[str, list[str]] = {}
  for name in inputs:
    groups.setdefault(recipe.views[name].group, []).append(name)
  x = {
    g: jnp.concatenate([inputs[n].x for n in names]) if len(names) > 1 else inputs[names[0]].x
    for g, names in groups.items()
  }
  mixers = {g: between(recipe, names, inputs, signals, t) for g, names in groups.items()}
  passed = (_vmapped if recipe.vmapped else _separately)(recipe, params, stats, x, mixers)
  outs: dict[str, Outputs] = {}
  for g, names in groups.items():
    out, start = passed[0][g], 0
    for n in names:
      rows = slice(start, start + inputs[n].x.shape[0])
      outs[n] = _by_row(lambda x, rows=rows: x[rows], out)
      start = rows.stop
  return outs, passed[1]


def _by_row(function: Callable[..., Array], *outs: Outputs) -> Outputs:
  """Applies a function to the fields with one row per image; `extra` is that of the first."""
  bare = [o._replace(extra={}) for o in outs]
  return jax.tree.map(function, *bare)._replace(extra=outs[0].extra)


def teacher_logits(recipe: Recipe, inputs: dict[str, Input], store: Store) -> dict[str, Array]:
  """Returns the teacher's logits in evaluation mode, for the views of the terms that need them.

  Returns:
    `{view: logits [n, C]}`, averaged over the teacher's experts; empty if no term needs them.
  """
  asked = [v for term in recipe.terms.values() if term.needs_teacher for v in term.views]
  found = {}
  for name in dict.fromkeys(v for v in asked if v in inputs):
    assert recipe.teacher is not None, 'the recipe was built without a teacher'
    mixer = between(recipe, [name], inputs)
    outs, _ = apply(recipe.teacher, store.teacher, inputs[name].x, False, mixer)
    found[name] = outs.logits.mean(axis=1)
  return found


def join(outs: Sequence[Outputs], inputs: Sequence[Input]) -> tuple[Outputs, Targets, Array]:
  """Concatenates several views to one batch, for a loss that compares them.

  Returns:
    The outputs, the pair targets and the mask of all rows; `extra` is that of the first view.
  """
  mask = jnp.concatenate([x.mask for x in inputs])
  targets = jax.tree.map(lambda *rows: jnp.concatenate(rows), *(x.targets for x in inputs))
  return _by_row(lambda *rows: jnp.concatenate(rows), *outs), targets, mask


def _separately(
  recipe: Recipe, params: PyTree, stats: PyTree, x: dict[str, Array], mixers: Mixers
) -> tuple[dict[str, Outputs], PyTree]:
  outs = {}
  for g, images in x.items():
    variables = {'params': params, 'batch_stats': stats}
    outs[g], stats = apply(recipe.step_net, variables, images, True, mixers[g])
  return outs, stats


def _vmapped(
  recipe: Recipe, params: PyTree, stats: PyTree, x: dict[str, Array], mixers: Mixers
) -> tuple[dict[str, Outputs], PyTree]:
  variables = {'params': params, 'batch_stats': stats}
  # a group with mixed features needs a separate pass
  alike: dict[Any, list[str]] = {}
  for g, images in x.items():
    alike.setdefault((images.shape, g if mixers[g] else ''), []).append(g)
  passed: dict[str, tuple[Outputs, PyTree]] = {}
  for names in alike.values():
    if len(names) == 1:
      (g,) = names
      passed[g] = apply(recipe.step_net, variables, x[g], True, mixers[g])
      continue
    stacked = jax.vmap(lambda images: apply(recipe.step_net, variables, images, True))(
      jnp.stack([x[g] for g in names])
    )
    for i, g in enumerate(names):
      passed[g] = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
  return (
    {g: passed[g][0] for g in x},
    fold_statistics(stats, [passed[g][1] for g in x]),
  )
