"""The score matrix of FASS: how often a network takes class y for class k.

Pure functions of arrays that import nothing of the package, for use from any JAX loop:

    score = init_score(C)
    score = observe(score, logits, labels)      # inside the train step
    score = refresh(score)                      # once per epoch
    targets = select_targets(score.matrix)      # [C]: the class each class is mixed with
    lam = mixing_ratio(score.matrix, labels, targets[labels])
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Score(NamedTuple):
  """A double buffer: the matrix in use, and the sums of the epoch that is running."""

  matrix: Array  # float32 [C, C]: S of the last epoch; a row of zeros: class not seen yet
  sums: Array  # float32 [C, C]: sum of softmax over the samples of each class so far
  count: Array  # type: ignore[assignment]  # float32 [C]: how many samples went into each row of `sums`


def init_score(num_classes: int) -> Score:
  """Returns the empty score of a run that has seen nothing: S = 0."""
  zeros = jnp.zeros((num_classes, num_classes), float)
  # two buffers, not one array twice: a donated train state must not alias
  return Score(zeros, jnp.zeros_like(zeros), jnp.zeros((num_classes,), float))


def observe(score: Score, logits: Array, labels: Array, weight: Array | None = None) -> Score:
  """Adds a batch to the running sums: sums[y] += softmax(z), count[y] += 1.

  With `refresh` this is s_y = 1/N_y * sum_{j: y_j = y} softmax(z_j); no gradient flows.

  Args:
    score: the score so far.
    logits: `[B, C]`, any float dtype.
    labels: integer `[B]`, in 0 .. C-1.
    weight: `[B]`, 0 leaves a sample out (fillers of a last batch); None counts all.

  Returns:
    The score with larger `sums` and `count`; `matrix` is untouched.

  Thesis: Eq. (3).
  """
  weight = jnp.ones(labels.shape, float) if weight is None else jnp.asarray(weight, float)
  probs = jax.nn.softmax(jnp.asarray(jax.lax.stop_gradient(logits), float), axis=-1)
  # where, not the product alone: 0 * nan is nan
  weighted = jnp.where(weight[:, None] > 0, probs * weight[:, None], 0.0)
  # in place where the state is donated: B rows are touched, not all C
  sums = score.sums.at[labels].add(weighted)
  return Score(score.matrix, sums, score.count.at[labels].add(weight))


def refresh(score: Score, decay: float = 0.0, form: str = 'matrix') -> Score:
  """Turns the sums of an epoch into the matrix of the next one, and empties them.

  new row = sums / count; S = decay * S + (1 - decay) * new row. A class without a sample keeps
  its old row, a class seen for the first time takes the new row whole.

  Args:
    score: the score at the end of an epoch.
    decay: in [0, 1); 0 is memory of the last epoch only.
    form: 'matrix', or 'vector' (an ablation): one score s_k = S[k, k] a class, the same for
      every row, so that all classes rank their targets alike.

  Returns:
    The score with a new `matrix` and zero `sums`, `count`.
  """
  if form not in ('matrix', 'vector'):
    raise ValueError(f"score form '{form}' is not one of matrix, vector")
  old, fresh = score.matrix, score.sums / jnp.maximum(score.count, 1.0)[:, None]
  seen, known = score.count > 0, old.sum(-1) > 0
  mixed = jnp.where(known[:, None], decay * old + (1.0 - decay) * fresh, fresh)
  matrix = jnp.where(seen[:, None], mixed, old)
  if form == 'vector':
    # the diagonal is the vector; a class never seen keeps its row of zeros
    own = jnp.diagonal(matrix)
    matrix = jnp.where((seen | known)[:, None], own[None, :], 0.0)
  return Score(matrix, jnp.zeros_like(score.sums), jnp.zeros_like(score.count))


def select_targets(matrix: Array, labels: Array | None = None) -> Array:
  """Returns for each class the other class it is most confused with.

  y_t = argmax_{k != y} S[y, k]; the lowest index wins a tie.

  Args:
    matrix: float `[C, C]`.
    labels: integer `[B]`, the classes y to choose for; None chooses for all, 0 .. C-1. Only
      their rows are read, which is what keeps the choice cheap at thousands of classes.

  Returns:
    int32 `[C]`, or `[B]` where `labels` are given.

  Thesis: Eq. (4).
  """
  columns = jnp.arange(matrix.shape[1])
  rows, labels = (matrix, columns) if labels is None else (matrix[labels], labels)
  own = labels[:, None] == columns[None, :]
  return jnp.argmax(jnp.where(own, -jnp.inf, rows), axis=-1).astype(jnp.int32)


def mixing_ratio(matrix: Array, labels: Array, targets: Array, minimum: float = 0.0) -> Array:
  """Returns the share of the own image in a mix with an image of the target class.

  lambda = S[b, b] / (S[b, b] + S[b, t]), not clamped: it falls below 1/2 where the network
  takes class b for class t more often than for itself. A row without scores gives 1/2.

  Args:
    matrix: float `[C, C]`.
    labels: integer `[B]`, the classes b.
    targets: integer `[B]`, the classes t.
    minimum: lower bound of the result, in [0, 1]; 0 is the thesis' formula.

  Returns:
    float32 `[B]` in [minimum, 1].

  Thesis: Eq. (5).
  """
  own, other = matrix[labels, labels], matrix[labels, targets]
  total = own + other
  ratio = jnp.where(total > 0, own / jnp.where(total > 0, total, 1.0), 0.5)
  return jnp.maximum(ratio, minimum).astype(float)
