"""Tau-normalisation: divides the class weights of a linear head by a power of their norms."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.classifiers.base import Classifier, Sets, Setting, in_full, needs_held, number
from fass_jax.nets import paths
from fass_jax.types import Array, Outputs, PyTree, UserError

GRID = np.linspace(0, 2, 21)  # candidate values of tau, as in the authors' code
LINEAR = ('linear', 'linear_torch', 'linear_prior')


def tau_norm(w: Array, tau: float | Array) -> Array:
  """Returns w_c / |w_c|^tau.

  Args:
    w: float `[..., C, D]`, one row per class.
    tau: 0 has no effect, 1 gives every row unit norm.

  Returns:
    float `[..., C, D]`.

  Reference: Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition,
  arXiv:1910.09217.
  """
  return w * norms(w)[..., None] ** -tau


def norms(w: Array) -> Array:
  """Returns the norm of each row, `[..., C]`, at least 1e-12."""
  return jnp.sqrt(jnp.maximum(jnp.square(w).sum(-1), 1e-24))


def rows(params: PyTree) -> Array:
  """Returns the weights of a network's linear heads, `[E, C, D]`, E = 1 without experts.

  Learned factors per class (`class_scale`) are multiplied into the weights.

  Raises:
    UserError: if the network has no linear head.
  """
  leaves = paths.flat(params['head'])
  known = {p: x for p, x in leaves.items() if p.endswith('linear/kernel')}
  if not known:
    raise UserError(
      'tau_norm needs a linear head, and this network has no linear head; use the classifier ncm '
      'or post_hoc.'
    )

  def order(path: str) -> list[int]:
    return [int(n) for n in re.findall(r'\d+', path)]

  def own(path: str) -> Array:
    w, scale = known[path].T, leaves.get(path.replace('linear/kernel', 'class_scale'))
    return w if scale is None else w * scale[:, None]

  return jnp.stack([own(p) for p in sorted(known, key=order)])


def raw(outs: Outputs, w: Array) -> Array:
  """Returns the logits of each expert without bias, `[B, E, C]`."""
  x = outs.features
  x = x if x.ndim == 3 else x[:, None]
  return jnp.stack([in_full(x[:, e], w[e].T) for e in range(w.shape[0])], axis=1)


def build(setting: Setting) -> Classifier:
  """Returns the tau-norm classifier: no bias, logits averaged over the experts.

  tau='auto' selects the tau in `GRID` with the best mean per-class accuracy on the held-out images.
  The middle one wins a tie, because with few held-out images many values tie.

  Raises:
    UserError: if the head is not linear, tau is not a number, or tau is 'auto' and the run has no
      held-out images.
  """
  head = setting.net.head
  if head not in LINEAR:
    why = ' has weights of unit norm already, so tau has no effect' * (head == 'cosine')
    raise UserError(
      f"tau_norm needs a linear head, and '{head}'{why or ' is not linear'}; train with "
      '--config.net.head=linear, or use the classifier ncm or post_hoc.'
    )
  text, classes = setting.args.tau, len(setting.counts)
  if text == 'auto':
    needs_held(setting, 'The tau of tau_norm', f'give {setting.flag}tau=1')
  fixed = None if text == 'auto' else number(setting, 'tau', text)

  def hits(acc: Any, outs: Outputs, labels: Array, mask: Array) -> Any:
    w, right = acc
    z, length = raw(outs, w), norms(w)

    def one(tau: Array) -> Array:
      # tau only scales each logit by a positive factor, so the matrix product is reused
      guess = (z * (length**-tau)[None]).mean(1).argmax(-1)
      good = ((guess == labels) & mask).astype(jnp.int32)
      return jnp.zeros(classes, jnp.int32).at[labels].add(good)

    return w, right + jax.lax.map(one, jnp.asarray(GRID, z.dtype))

  def fit(variables: PyTree, sets: Sets) -> PyTree:
    w = rows(variables['params'])[:, :classes]  # without the rows of auxiliary classes
    if fixed is not None:
      return {'w': tau_norm(w, fixed), 'tau': jnp.asarray(fixed, float)}
    assert sets.held is not None and sets.held_labels is not None
    right = sets.held(hits, (w, jnp.zeros((len(GRID), classes), jnp.int32)))[1]
    tau = GRID[best_tau(np.asarray(right), np.asarray(sets.held_labels))]
    return {'w': tau_norm(w, tau), 'tau': jnp.asarray(tau, float)}

  return Classifier(
    fit,
    lambda outs, fitted: raw(outs, fitted['w']).mean(1),
    fitted_values=lambda fitted: {'tau': round(float(fitted['tau']), 6)},
  )


def best_tau(right: np.ndarray, labels: np.ndarray) -> int:
  """Returns the index of the tau with the best mean per-class accuracy; the middle one wins a tie.

  Args:
    right: int `[T, C]`, correct predictions per tau and class.
    labels: int `[H]`, 0 .. C-1; a class without images is excluded.
  """
  total = np.bincount(labels, minlength=right.shape[1])
  there = total > 0
  accuracy = (right[:, there] / total[there]).mean(1)
  best = np.flatnonzero(accuracy == accuracy.max())
  return int(best[(len(best) - 1) // 2])
