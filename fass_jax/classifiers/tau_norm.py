"""Tau-normalisation: the weights of a linear head over a power of their norms."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.classifiers.base import Classifier, Sets, Setting, in_full, needs_held, number
from fass_jax.nets import paths
from fass_jax.types import Array, Outputs, PyTree, UserError

GRID = np.linspace(0, 2, 21)  # of the authors
LINEAR = ('linear', 'linear_torch', 'linear_prior')


def tau_norm(w: Array, tau: float | Array) -> Array:
  """Returns w_c / |w_c|^tau.

  Args:
    w: float `[..., C, D]`, a row a class.
    tau: 0 changes nothing, 1 gives every row length 1.

  Returns:
    float `[..., C, D]`.

  Reference: Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis, ICLR 2020.
  """
  return w * norms(w)[..., None] ** -tau


def norms(w: Array) -> Array:
  """Returns the length of each row, `[..., C]`, kept off zero."""
  return jnp.sqrt(jnp.maximum(jnp.square(w).sum(-1), 1e-24))


def rows(params: PyTree) -> Array:
  """Returns the weights of the linear heads of a network, `[E, C, D]`, E = 1 without experts.

  Learned factors of the classes (`class_scale`) are a part of them.

  Raises:
    UserError: if it has none.
  """
  leaves = paths.flat(params['head'])
  known = {p: x for p, x in leaves.items() if p.endswith('linear/kernel')}
  if not known:
    raise UserError(
      'This network has no linear head, whose weights tau_norm could change; take ncm or post_hoc.'
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
  """Returns the classifier: bias dropped, the mean over the experts' heads.

  'auto' takes the tau of `GRID` with the best mean per-class accuracy on the held-out part, the
  middle one of equals: a small part cannot tell many of them apart.

  Raises:
    UserError: for a head that is not linear, a tau that is no number, or no held-out part to
      choose it on.
  """
  head = setting.net.head
  if head not in LINEAR:
    why = ' has weights of length 1 already, so no tau changes anything' * (head == 'cosine')
    raise UserError(
      f"tau_norm needs a linear head, and '{head}'{why or ' is another'}; train with "
      '--config.net.head=linear, or take the classifier ncm or post_hoc.'
    )
  text, classes = setting.args.tau, len(setting.counts)
  if text == 'auto':
    needs_held(setting, 'The tau of tau_norm', f'give {setting.flag}tau=1')
  fixed = None if text == 'auto' else number(setting, 'tau', text)

  def hits(acc: Any, outs: Outputs, labels: Array, mask: Array) -> Any:
    w, right = acc
    z, length = raw(outs, w), norms(w)

    def one(tau: Array) -> Array:
      # a positive factor for each class and expert: the product is not done again
      guess = (z * (length**-tau)[None]).mean(1).argmax(-1)
      good = ((guess == labels) & mask).astype(jnp.int32)
      return jnp.zeros(classes, jnp.int32).at[labels].add(good)

    return w, right + jax.lax.map(one, jnp.asarray(GRID, z.dtype))

  def fit(variables: PyTree, sets: Sets) -> PyTree:
    w = rows(variables['params'])
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
  """Returns which of the taus has the best mean per-class accuracy, the middle one of equals.

  Args:
    right: int `[T, C]`, hits of each tau.
    labels: int `[H]`; classes without an image do not count.
  """
  total = np.bincount(labels, minlength=right.shape[1])
  there = total > 0
  accuracy = (right[:, there] / total[there]).mean(1)
  best = np.flatnonzero(accuracy == accuracy.max())
  return int(best[(len(best) - 1) // 2])
