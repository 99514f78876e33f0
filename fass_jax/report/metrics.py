"""The metrics of the long-tail literature, from what a pass over a test set adds up."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.nets.base import experts_used, mean_logits
from fass_jax.types import Array, Outputs


class Counts(NamedTuple):
  """What a pass over a test set adds up; every metric is computed from it."""

  confusion: Array  # int32 [C, C], row: true class, column: prediction
  nll: Array  # float32, sum of -log p(true class)
  bins: Array  # float32 [bins, 3]: samples, confidence, hits, by confidence of the prediction
  used: Array | int = 0  # int32, experts that a router asked; 0 without one


def init_counts(num_classes: int, bins: int) -> Counts:
  """Returns empty counts."""
  return Counts(
    jnp.zeros((num_classes, num_classes), jnp.int32),
    jnp.zeros(()),
    jnp.zeros((bins, 3)),
    jnp.zeros((), jnp.int32),
  )


def count_outputs(counts: Counts, outs: Outputs, labels: Array, mask: Array) -> Counts:
  """Adds a batch as `count` does, and the experts that a router asked."""
  new = count(counts, mean_logits(outs), labels, mask)
  if outs.route is None:
    return new
  return new._replace(used=counts.used + jnp.where(mask, experts_used(outs), 0).sum())


def count(counts: Counts, logits: Array, labels: Array, mask: Array) -> Counts:
  """Adds a batch to the counts.

  Args:
    counts: so far.
    logits: float `[B, C]`.
    labels: integer `[B]`.
    mask: bool `[B]`, False leaves a filler out.
  """
  log_p = jax.nn.log_softmax(jnp.asarray(logits, float), axis=-1)
  pred = logits.argmax(-1)
  on = jnp.asarray(mask, float)
  confidence = jnp.exp(log_p.max(-1))
  n = counts.bins.shape[0]
  # equal widths over (0, 1], the upper edge inside, as in Guo et al., ICML 2017
  place = jnp.clip(jnp.ceil(confidence * n).astype(jnp.int32) - 1, 0, n - 1)
  hit = (pred == labels).astype(float)
  # where, not a product: a filler may hold nan
  rows = jnp.where(mask[:, None], jnp.stack([on, confidence, hit], axis=-1), 0.0)
  true = jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
  return counts._replace(
    confusion=counts.confusion.at[labels, pred].add(mask.astype(jnp.int32)),
    nll=counts.nll - jnp.where(mask, true, 0.0).sum(),
    bins=counts.bins.at[place].add(rows),
  )


def shot_groups(train_counts: np.ndarray, many: int = 100, few: int = 20) -> dict[str, np.ndarray]:
  """Splits the classes by *train* images: many-shot > 100, medium-shot 20 to 100, few-shot < 20.

  Args:
    train_counts: int `[C]`.
    many: classes with more images are many-shot.
    few: classes with fewer images are few-shot.

  Returns:
    bool `[C]` masks 'many', 'medium', 'few'.

  Reference: Liu, Miao, Zhan, Wang, Gong, Yu, CVPR 2019.
  """
  n = np.asarray(train_counts)
  return {'many': n > many, 'medium': (n <= many) & (n >= few), 'few': n < few}


def shot_edges(train_counts: np.ndarray, many: int, few: int) -> tuple[int, int]:
  """Returns the edges of `shot_groups`, or others if a group would have no class.

  These cut the classes, ordered by their images, into thirds (classes with equally many stay
  together): a set of 3 to 50 images a class has no class of more than 100.
  """
  n = np.sort(np.asarray(train_counts))[::-1]
  if all(g.any() for g in shot_groups(n, many, few).values()):
    return many, few
  return int(n[len(n) // 3]), int(n[-(len(n) // 3) - 1])


def edges_of(e: Any, train_counts: np.ndarray) -> tuple[int, int]:
  """Returns the edges of the shot groups as the section `eval` of a config says."""
  if e.shots == 'auto':
    return shot_edges(train_counts, e.many, e.few)
  return e.many, e.few


def groups_of(e: Any, train_counts: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the shot groups as the section `eval` of a config says."""
  return shot_groups(train_counts, *edges_of(e, train_counts))


def group_means(values: np.ndarray, groups: dict[str, np.ndarray]) -> dict[str, float]:
  """Returns the mean of per-class values in each group; NaN for an empty one (or no value)."""
  out = {}
  for name, members in groups.items():
    inside = values[members & np.isfinite(values)]
    out[name] = float(inside.mean()) if inside.size else float('nan')
  return out


def metrics(counts: Counts, groups: dict[str, np.ndarray]) -> dict[str, Any]:
  """Computes the metrics of a test set.

  Args:
    counts: host arrays of a whole pass.
    groups: masks of `shot_groups`.

  Returns:
    Fractions in [0, 1], NaN where a group has no class: `top1`; `many`, `medium`, `few` (mean
    per-class recall); `worst_class`; `worst_tenth` (mean of the worst ceil(C / 10) classes);
    `balanced_error` (1 - mean recall); `macro_f1`; `ece_<bins>`; `nll` in nats; `per_class`; with
    a router `experts_used`, in [1, E], the mean over the samples.
  """
  confusion = np.asarray(counts.confusion, np.float64)
  total, diagonal = confusion.sum(), np.diagonal(confusion)
  with np.errstate(divide='ignore', invalid='ignore'):
    recall = diagonal / confusion.sum(1)
    f1 = 2 * diagonal / (confusion.sum(0) + confusion.sum(1))
  tested = np.sort(recall[np.isfinite(recall)])
  bins = np.asarray(counts.bins, np.float64)
  used = {'experts_used': float(counts.used / total)} if counts.used > 0 else {}
  return {
    'top1': float(diagonal.sum() / total),
    **group_means(recall, groups),
    'worst_class': float(tested[0]),
    'worst_tenth': float(tested[: -(-len(recall) // 10)].mean()),
    'balanced_error': float(1.0 - tested.mean()),
    'macro_f1': float(np.nanmean(f1)),
    f'ece_{len(bins)}': float(np.abs(bins[:, 1] - bins[:, 2]).sum() / total),
    'nll': float(counts.nll) / total,
    **used,
    'per_class': [float(r) for r in recall],
  }


def mixing_diagnostics(
  tally: dict[str, Any], groups: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
  """Summarises what an epoch mixed, by view.

  Args:
    tally: the state's `mixed` sums: by view, `drawn`, `lam`, `half`, `area`, each `[C]`.
    groups: masks of `shot_groups`.

  Returns:
    By view: `drawn`; `lam_below_half`, the share of mixes that are mostly the partner (there is
    no clamp, so these put a label on an image of another class); mean `lam` and share of mixed
    `area`, overall and per shot group.
  """
  out = {}
  for view, sums in tally.items():
    sums = {k: np.asarray(v, np.float64) for k, v in sums.items()}
    row: dict[str, float] = {'drawn': float(sums['drawn'].sum())}
    for name, members in {'all': np.ones_like(sums['drawn'], bool), **groups}.items():
      n = sums['drawn'][members].sum()
      for key, label in (('half', 'lam_below_half'), ('lam', 'lam'), ('area', 'area')):
        row[f'{label}_{name}'] = float(sums[key][members].sum() / n) if n else float('nan')
    out[view] = row
  return out
