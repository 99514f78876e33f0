"""The score matrix of FASS: mean probability that the network gives class k for images of class y.

Pure functions of arrays for use in any JAX loop; this module imports nothing else from the package:

    score = init_score(C)
    score = observe(score, logits, labels)      # inside the train step
    score = refresh(score)                      # once per epoch
    targets = select_targets(score.matrix)      # [C]: the target class per class
    lam = mixing_ratio(score.matrix, labels, targets[labels])
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Score(NamedTuple):
  """The matrix in use and the sums of the current epoch."""

  matrix: Array  # float32 [C, C]: S after the last epoch; a row of zeros: class not seen yet
  sums: Array  # float32 [C, C]: sum of softmax over the samples per class in this epoch
  count: Array  # type: ignore[assignment]  # float32 [C]: number of samples per row of `sums`


def init_score(num_classes: int) -> Score:
  """Returns the score before any observation: S = 0."""
  zeros = jnp.zeros((num_classes, num_classes), float)
  # two separate buffers: a donated train state must not alias
  return Score(zeros, jnp.zeros_like(zeros), jnp.zeros((num_classes,), float))


def observe(
  score: Score,
  logits: Array,
  labels: Array,
  weight: Array | None = None,
  temperature: float = 1.0,
) -> Score:
  """Adds a batch to the running sums: sums[y] += softmax(z / T), count[y] += 1.

  `refresh` then gives s_y = 1/N_y * sum_{j: y_j = y} softmax(z_j / T). No gradient flows.

  Args:
    score: the current score.
    logits: `[B, C]`, any float dtype.
    labels: integer `[B]`, in 0 .. C-1.
    weight: `[B]`, 0 excludes a sample (padding of the last batch); None includes all.
    temperature: T, above 0; 1 is the thesis' formula, more makes the scores of a network that is
      sure of its training images less extreme.

  Returns:
    The score with updated `sums` and `count`; `matrix` is unchanged.

  Thesis: Eq. (3).
  """
  weight = jnp.ones(labels.shape, float) if weight is None else jnp.asarray(weight, float)
  z = jnp.asarray(jax.lax.stop_gradient(logits), float)
  probs = jax.nn.softmax(z if temperature == 1 else z / temperature, axis=-1)
  # where instead of a plain product: 0 * nan is nan
  weighted = jnp.where(weight[:, None] > 0, probs * weight[:, None], 0.0)
  # in place if the state is donated, and only B rows are written
  sums = score.sums.at[labels].add(weighted)
  return Score(score.matrix, sums, score.count.at[labels].add(weight))


def refresh(score: Score, decay: float = 0.0, form: str = 'matrix') -> Score:
  """Computes the matrix for the next epoch from the sums of this epoch, and resets the sums.

  new = sums / count, row by row; S = decay * S + (1 - decay) * new. A class without a sample in
  this epoch has its old row; a class seen for the first time has the new row without decay.

  Args:
    score: the score at the end of an epoch.
    decay: in [0, 1); 0 uses the last epoch only.
    form: 'matrix', or 'vector' (an ablation): one score s_k = S[k, k] per class, equal in all
      rows, so that all classes rank their targets in the same order.

  Returns:
    The score with a new `matrix` and zero `sums` and `count`.

  Raises:
    ValueError: if `form` is unknown.
  """
  if form not in ('matrix', 'vector'):
    raise ValueError(f"score form '{form}' is not one of matrix, vector")
  old, fresh = score.matrix, score.sums / jnp.maximum(score.count, 1.0)[:, None]
  seen, known = score.count > 0, old.sum(-1) > 0
  mixed = jnp.where(known[:, None], decay * old + (1.0 - decay) * fresh, fresh)
  matrix = jnp.where(seen[:, None], mixed, old)
  if form == 'vector':
    # the vector is the diagonal; a class that was never seen has a row of zeros
    own = jnp.diagonal(matrix)
    matrix = jnp.where((seen | known)[:, None], own[None, :], 0.0)
  return Score(matrix, jnp.zeros_like(score.sums), jnp.zeros_like(score.count))


def select_targets(matrix: Array, labels: Array | None = None) -> Array:
  """Returns the target class of each class: y_t = argmax_{k != y} S[y, k].

  This is the class with which the network confuses y most. The lowest index wins a tie.

  Args:
    matrix: float `[C, C]`, S.
    labels: integer `[B]`, the classes y; None means all classes, 0 .. C-1. Only the rows of these
      classes are read, so the cost stays low with thousands of classes.

  Returns:
    int32 `[C]`, or `[B]` with `labels`.

  Thesis: Eq. (4).
  """
  columns = jnp.arange(matrix.shape[1])
  rows, labels = (matrix, columns) if labels is None else (matrix[labels], labels)
  own = labels[:, None] == columns[None, :]
  return jnp.argmax(jnp.where(own, -jnp.inf, rows), axis=-1).astype(jnp.int32)


def draw_targets(key: Array, matrix: Array, labels: Array) -> Array:
  """Draws the target class of each label: P(y_t = k) = S[y, k] / sum_{j != y} S[y, j], k != y.

  A variant of `select_targets` that also reaches the classes after the most confused one.

  Args:
    key: PRNG key.
    matrix: float `[C, C]`, S.
    labels: integer `[B]`, the classes y. A row of zeros gives every other class alike.

  Returns:
    int32 `[B]`.
  """
  own = labels[:, None] == jnp.arange(matrix.shape[1])[None, :]
  # the smallest number instead of 0: a row without scores would have no class to draw
  rows = jnp.maximum(matrix[labels], jnp.finfo(matrix.dtype).tiny)
  logits = jnp.where(own, -jnp.inf, jnp.log(rows))
  return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)


def mixing_ratio(matrix: Array, labels: Array, targets: Array, minimum: float = 0.0) -> Array:
  """Returns lambda = S[b, b] / (S[b, b] + S[b, t]), the share of the first image in a mix.

  lambda is below 1/2 if the network gives images of class b a higher probability of class t than of
  class b. A row of zeros gives 1/2.

  Args:
    matrix: float `[C, C]`, S.
    labels: integer `[B]`, the classes b.
    targets: integer `[B]`, the target classes t.
    minimum: lower bound of the result, in [0, 1]; 0 is the thesis' formula.

  Returns:
    float32 `[B]` in [minimum, 1].

  Thesis: Eq. (5).
  """
  own, other = matrix[labels, labels], matrix[labels, targets]
  total = own + other
  ratio = jnp.where(total > 0, own / jnp.where(total > 0, total, 1.0), 0.5)
  return jnp.maximum(ratio, minimum).astype(float)
