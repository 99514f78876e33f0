"""The metrics of the long-tail literature, from sums over a test set."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from fass_jax.nets.base import experts_used, mean_logits
from fass_jax.types import Array, Outputs


class Counts(NamedTuple):
  """Sums over a test set, from which all metrics are computed."""

  confusion: Array  # int32 [C, C], row: true class, column: prediction
  nll: Array  # float32, sum of -log p(true class), nats
  bins: Array  # float32 [bins, 3]: samples, sum of confidence, hits, by confidence
  used: Array | int = 0  # int32, sum of the experts used per sample; 0 without a router


def init_counts(num_classes: int, bins: int) -> Counts:
  """Returns counts of 0."""
  return Counts(
    jnp.zeros((num_classes, num_classes), jnp.int32),
    jnp.zeros(()),
    jnp.zeros((bins, 3)),
    jnp.zeros((), jnp.int32),
  )


def count_outputs(counts: Counts, outs: Outputs, labels: Array, mask: Array) -> Counts:
  """Adds a batch of outputs to the counts, with the experts in use if there is a router."""
  new = count(counts, mean_logits(outs), labels, mask)
  if outs.route is None:
    return new
  return new._replace(used=counts.used + jnp.where(mask, experts_used(outs), 0).sum())


def count(counts: Counts, logits: Array, labels: Array, mask: Array) -> Counts:
  """Adds a batch to the counts.

  Args:
    counts: the current counts.
    logits: float `[B, C]`.
    labels: integer `[B]`.
    mask: bool `[B]`, False excludes a padding row.
  """
  log_p = jax.nn.log_softmax(jnp.asarray(logits, float), axis=-1)
  pred = logits.argmax(-1)
  on = jnp.asarray(mask, float)
  confidence = jnp.exp(log_p.max(-1))
  n = counts.bins.shape[0]
  # equal widths over (0, 1], with the upper edge included, as in Guo et al., arXiv:1706.04599
  place = jnp.clip(jnp.ceil(confidence * n).astype(jnp.int32) - 1, 0, n - 1)
  hit = (pred == labels).astype(float)
  # where instead of a product: a padding row may be nan
  rows = jnp.where(mask[:, None], jnp.stack([on, confidence, hit], axis=-1), 0.0)
  true = jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
  return counts._replace(
    confusion=counts.confusion.at[labels, pred].add(mask.astype(jnp.int32)),
    nll=counts.nll - jnp.where(mask, true, 0.0).sum(),
    bins=counts.bins.at[place].add(rows),
  )


def shot_groups(train_counts: np.ndarray, many: int = 100, few: int = 20) -> dict[str, np.ndarray]:
  """Groups classes by *training* images: many-shot > 100, medium-shot 20 to 100, few-shot < 20.

  Args:
    train_counts: int `[C]`.
    many: classes with more images are many-shot.
    few: classes with fewer images are few-shot.

  Returns:
    bool `[C]` masks 'many', 'medium', 'few'.

  Reference: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, arXiv:1904.05160.
  """
  n = np.asarray(train_counts)
  return {'many': n > many, 'medium': (n <= many) & (n >= few), 'few': n < few}


def shot_edges(train_counts: np.ndarray, many: int, few: int) -> tuple[int, int]:
  """Returns the edges (many, few) for `shot_groups`, adapted if a group would be empty.

  The adapted edges split the classes, sorted by training images, into thirds; classes with equal
  numbers are in the same group. Example: with 3 to 50 images per class, no class has more than 100.
  """
  n = np.asarray(train_counts)
  n = np.sort(n[n > 0])[::-1]  # bins of a number may be empty
  if all(g.any() for g in shot_groups(n, many, few).values()):
    return many, few
  return int(n[len(n) // 3]), int(n[-(len(n) // 3) - 1])


def edges_of(e: Any, train_counts: np.ndarray) -> tuple[int, int]:
  """Returns the edges of the shot groups for a config's section `eval`."""
  if e.shots == 'auto':
    return shot_edges(train_counts, e.many, e.few)
  return e.many, e.few


def groups_of(e: Any, train_counts: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the shot groups for a config's section `eval`."""
  return shot_groups(train_counts, *edges_of(e, train_counts))


def group_means(values: np.ndarray, groups: dict[str, np.ndarray]) -> dict[str, float]:
  """Returns the mean of the finite per-class values per group; NaN if there is none."""
  out = {}
  for name, members in groups.items():
    inside = values[members & np.isfinite(values)]
    out[name] = float(inside.mean()) if inside.size else float('nan')
  return out


def confusion_norm(confusion: np.ndarray) -> float:
  """Returns the spectral norm of the confusion between classes: its largest singular value.

    C_ij = share of the samples of class j that are predicted as class i, C_jj = 0

  A classifier without errors has 0; it is large where many errors of several classes go to the same
  classes.

  Args:
    confusion: counts `[C, C]`, row: true class, column: prediction, as in `Counts`. A class without
      samples counts as one without errors.

  Reference: CAR, confusion-aware spectral regularisation, arXiv:2603.16732.
  """
  n = np.asarray(confusion, np.float64)
  share = (n / np.maximum(n.sum(1, keepdims=True), 1)).T
  np.fill_diagonal(share, 0.0)
  if not share.any():
    return 0.0
  # sparse: it has at most as many entries as the set has samples. The start makes it reproducible
  start = np.ones(len(share))
  return float(svds(csr_array(share), k=1, v0=start, return_singular_vectors=False)[0])


def metrics(counts: Counts, groups: dict[str, np.ndarray]) -> dict[str, Any]:
  """Computes the metrics of a test set.

  Args:
    counts: host arrays of a complete pass.
    groups: masks of `shot_groups`.

  Returns:
    Fractions in [0, 1], NaN for an empty group: `top1`; `many`, `medium`, `few` (mean recall of
    the group's classes); `worst_class` (lowest recall); `worst_tenth` (mean recall of the worst
    ceil(C / 10) classes); `balanced_error` (1 - mean recall); `macro_f1`; `ece_<bins>` (expected
    calibration error); `per_class` (recall). Also `nll` in nats, `confusion_norm`, see there, and
    with a router `experts_used`, the mean over the samples, in [1, E].
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
    'confusion_norm': confusion_norm(confusion),
    **used,
    'per_class': [float(r) for r in recall],
  }


def worst_ratio(test: dict[str, Any], train: dict[str, Any]) -> float:
  """Returns the lowest recall on the test set over the lowest on the training set.

  Near 1: the worst class is as bad in training; near 0: it is learned by heart. NaN if a class is
  never right in training.

  Args:
    test: `metrics` of the test set.
    train: `metrics` of the training set.

  Reference: CAR, confusion-aware spectral regularisation, arXiv:2603.16732.
  """
  worst = train['worst_class']
  return test['worst_class'] / worst if worst > 0 else float('nan')


def mixing_diagnostics(
  tally: dict[str, Any], groups: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
  """Summarises the mixed images of an epoch per view.

  Args:
    tally: the sums `mixed` of the train state: per view `drawn`, `lam`, `half`, `area`, each `[C]`.
    groups: masks of `shot_groups`.

  Returns:
    Per view: `drawn`, the number of mixed images; `lam_below_half`, the share with lam < 1/2, where
    most of the image is from the partner but the label may not be; the mean of `lam`; the pasted
    share `area`. The last three are overall (`_all`) and per shot group.
  """
  out = {}
  for view, sums in tally.items():
    sums = {k: np.asarray(v, np.float64) for k, v in sums.items()}
    row: dict[str, float] = {'drawn': float(sums['drawn'].sum())}
    total = len(sums['drawn'])
    for name, members in {'all': np.ones(total, bool), **groups}.items():
      members = np.pad(members, (0, total - len(members)))  # no auxiliary class is in a group
      n = sums['drawn'][members].sum()
      for key, label in (('half', 'lam_below_half'), ('lam', 'lam'), ('area', 'area')):
        row[f'{label}_{name}'] = float(sums[key][members].sum() / n) if n else float('nan')
    out[view] = row
  return out
