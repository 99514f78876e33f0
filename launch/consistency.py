"""Tests which losses minimise the balanced error, on two Gaussians with a known optimum.

    python launch/consistency.py        writes docs/consistency.png and prints the table

The problem is from Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314: x is
normal with standard deviation 1, around (1, 1) for the positive class (5 % of the samples) and
around (-1, -1) for the negative class. The minimum of the balanced error is Phi(-sqrt 2) = 7.86 %.
Newton's method fits a linear classifier to the optimum of each loss; its balanced error follows
exactly from its decision line.
"""

from __future__ import annotations

import functools
import math
import pathlib
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

REPO = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

from fass_jax.classifiers import prior_shift
from fass_jax.losses import pairwise, prior, softmax
from fass_jax.losses.sigmoid import sigmoid_loss
from fass_jax.losses.weights import inverse_frequency_weights
from fass_jax.types import Array

PRIOR = np.array([0.95, 0.05])  # negative class, positive class
CENTRES = np.array([[-1.0, -1.0], [1.0, 1.0]])
BAYES = 0.5 * math.erfc(1.0)  # Phi(-sqrt 2)
SIZES = (100, 300, 1000, 3000, 10_000, 30_000)
SEEDS = 20
# class counts proportional to the prior, as the losses need them
COUNTS = jnp.asarray([95.0, 5.0])

Loss = Callable[[Array, Array], Array]


class Sample(NamedTuple):
  """Points with labels and weights in the risk."""

  x: np.ndarray  # [n, 3], the last column is 1
  y: np.ndarray  # [n]
  share: np.ndarray  # [n], sums to 1


LOSSES: dict[str, Loss] = {
  'cross entropy': softmax.cross_entropy,
  'sigmoid': sigmoid_loss,
  'weighted cross entropy': lambda z, y: pairwise.weighted_cross_entropy(
    z, y, inverse_frequency_weights(COUNTS, 1.0)
  ),
  'logit adjustment': lambda z, y: prior.logit_adjustment(z, y, COUNTS),
  'weighted_la, tau .5': lambda z, y: prior.weighted_logit_adjustment(z, y, COUNTS, 0.5),
  'two_rate, tau1 1, tau2 .5': lambda z, y: prior.two_rate(z, y, COUNTS, 1.0, 0.5),
  'la_adaptive': lambda z, y: prior.la_adaptive(z, y, COUNTS),
  'adaptive margin alone': lambda z, y: pairwise.additive_margin_loss(
    z, y, jnp.zeros(2), (COUNTS / COUNTS.sum()) ** -0.25
  ),
  'equalised, g .9': lambda z, y: prior.equalised(z, y, COUNTS, 0.9, 0.1),
  'weights and margins': lambda z, y: (
    inverse_frequency_weights(COUNTS, 1.0)[y] * prior.logit_adjustment(z, y, COUNTS)
  ),
}
DRAWN = {
  'cross entropy': 'C0', 'weight normalisation': 'C1', 'equalised, g .9': 'C4',
  'weights and margins': 'C5', 'weighted cross entropy': 'C8', 'post-hoc adjustment': 'C2',
  'logit adjustment': 'C3',
}  # fmt: skip


def population(nodes: int = 40) -> Sample:
  """Returns a quadrature grid for both Gaussians, i.e. the exact risk without sampling."""
  at, weight = np.polynomial.hermite_e.hermegauss(nodes)
  weight = weight / weight.sum()
  grid = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)
  share = np.outer(weight, weight).reshape(-1)
  x = np.concatenate([grid + centre for centre in CENTRES])
  y = np.repeat([0, 1], len(grid))
  share = np.concatenate([p * share for p in PRIOR])
  kept = share > 1e-12
  return Sample(_with_one(x[kept]), y[kept], share[kept] / share[kept].sum())


def draw(seed: int, n: int) -> Sample:
  """Returns n random points, of which exactly 5 % are positive."""
  y = np.repeat([0, 1], np.round(n * PRIOR).astype(int))
  x = CENTRES[y] + np.random.default_rng(seed).normal(size=(n, 2))
  return Sample(_with_one(x), y, np.full(n, 1 / n))


def _with_one(x: np.ndarray) -> np.ndarray:
  return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def fit(loss: Loss, sample: Sample, steps: int = 15) -> np.ndarray:
  """Returns the weights `[2, 3]` of the linear classifier that minimises the loss."""
  x, y, share = jnp.asarray(sample.x), jnp.asarray(sample.y), jnp.asarray(sample.share)
  newton, w = _newton(loss), jnp.zeros(6)
  for _ in range(steps):
    w = newton(w, x, y, share)
  return np.asarray(w, np.float64).reshape(2, 3)


@functools.cache
def _newton(loss: Loss) -> Callable[..., Array]:
  def risk(w: Array, x: Array, y: Array, share: Array) -> Array:
    z = jnp.matmul(x, w.reshape(2, 3).T, precision=jax.lax.Precision.HIGHEST)
    # weak regularisation makes the optimum unique: a softmax ignores a common shift of logits
    return (share * loss(z, y)).sum() + 1e-6 * jnp.square(w).sum()

  def step(w: Array, x: Array, y: Array, share: Array) -> Array:
    slope, curve = jax.grad(risk)(w, x, y, share), jax.hessian(risk)(w, x, y, share)
    move = jnp.linalg.solve(curve, slope)
    # use the best of six step lengths
    tries = w[None, :] - 0.5 ** jnp.arange(6)[:, None] * move[None, :]
    risks = jax.vmap(lambda v: risk(v, x, y, share))(tries)
    return tries[jnp.argmin(jnp.where(jnp.isfinite(risks), risks, jnp.inf))]

  return jax.jit(step)


def balanced_error(w: np.ndarray) -> float:
  """Returns the exact mean of both classes' errors for the rule arg max w x."""
  line = w[1] - w[0]
  reach = (_with_one(CENTRES) @ line) / np.linalg.norm(line[:2])
  # the probability that a class is on the wrong side of the decision line
  return 0.5 * sum(0.5 * math.erfc(r / math.sqrt(2)) for r in (-reach[0], reach[1]))


def normalised(w: np.ndarray, tau: float = 1.0) -> np.ndarray:
  """Returns the weights divided by their norms to the power tau: weight normalisation."""
  return w / np.linalg.norm(w, axis=1, keepdims=True) ** tau


def adjusted(w: np.ndarray) -> np.ndarray:
  """Returns the classifier after post-hoc logit adjustment to a uniform prior."""
  moved = w.copy()
  moved[:, 2] += np.asarray(prior_shift.post_hoc(jnp.zeros((1, 2)), COUNTS, jnp.ones(2)))[0]
  return moved


def errors(sample: Sample) -> dict[str, float]:
  """Returns the balanced error of all losses and corrections, fitted to a sample."""
  rows = {name: fit(loss, sample) for name, loss in LOSSES.items()}
  plain = rows['cross entropy']
  rows |= {'weight normalisation': normalised(plain), 'post-hoc adjustment': adjusted(plain)}
  return {name: balanced_error(w) for name, w in rows.items()}


def picture(curves: dict[str, np.ndarray], path: pathlib.Path) -> None:
  """Plots the balanced error, averaged over the seeds, over the number of samples."""
  import matplotlib

  matplotlib.use('Agg')
  import matplotlib.pyplot as plt

  figure, axis = plt.subplots(figsize=(7, 3.6), layout='constrained')
  for name, colour in DRAWN.items():
    style = '--' if name in ('weight normalisation', 'post-hoc adjustment') else '-'
    axis.plot(SIZES, 100 * curves[name], style, color=colour, label=name, linewidth=1.5)
  axis.axhline(100 * BAYES, color='black', linewidth=0.8, linestyle=':', label='minimum')
  axis.set(xscale='log', xlabel='training samples', ylabel='balanced error, %')
  axis.legend(frameon=False, fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))
  axis.spines[['top', 'right']].set_visible(False)
  figure.savefig(path, dpi=100)
  plt.close(figure)


def main() -> None:
  """Prints the table and writes the plot."""
  limit = errors(population())
  drawn = [[errors(draw(seed, n)) for seed in range(SEEDS)] for n in SIZES]
  curves = {
    name: np.array([np.mean([one[name] for one in seeds]) for seeds in drawn]) for name in limit
  }
  print(f'| balanced error, % | without sampling | {" | ".join(f"{n:,}" for n in SIZES)} |')
  print('|---' * (len(SIZES) + 2) + '|')
  for name, value in sorted(limit.items(), key=lambda pair: pair[1]):
    row = ' | '.join(f'{100 * v:.2f}' for v in curves[name])
    print(f'| {name} | {100 * value:.2f} | {row} |')
  print(f'minimum: {100 * BAYES:.2f}')
  picture(curves, REPO / 'docs' / 'consistency.png')


if __name__ == '__main__':
  main()
