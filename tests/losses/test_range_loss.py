"""Range loss by hand and against loops in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import range_loss as module
from fass_jax.losses.build import LOSSES
from fass_jax.losses.kinds import needs_embedding
from fass_jax.types import Context, Outputs
from tests.by_hand import examples

range_loss = jax.jit(module.range_loss, static_argnames='k')


def by_loops(x, labels, mask, k, margin, intra, inter):
  x, total, means = np.asarray(x, np.float64), 0.0, []
  for c in np.unique(labels):
    rows = x[(labels == c) & mask]
    if len(rows) < 2:
      continue
    d = [np.linalg.norm(a - b) for a, b in itertools.combinations(rows, 2)]
    d = sorted(d, reverse=True)[:k]
    total += len(d) / sum(1 / v for v in d)
    means.append(rows.mean(0))
  gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(means, 2)]
  return intra * total + inter * max(margin - min(gaps), 0) if gaps else intra * total


def test_by_hand():
  # class 0 at 0, 3, 4 on a line: ranges 4 and 3, harmonic mean 2 / (1/4 + 1/3) = 24/7
  # class 1 at (0, 6), (0, 8): one range, of 2; class 2 has one sample: nothing
  x = jnp.array([[0.0, 0], [0, 6], [3, 0], [50, 0], [4, 0], [0, 8]])
  y = jnp.array([0, 1, 0, 2, 0, 1])
  on = jnp.ones(6)
  np.testing.assert_allclose(range_loss(x, y, on, 2, 1.0, 1.0, 0.0), 24 / 7 + 2, rtol=1e-5)
  # the means are (7/3, 0) and (0, 7)
  want = 10 - np.hypot(7 / 3, 7)
  np.testing.assert_allclose(range_loss(x, y, on, 2, 10.0, 0.0, 1.0), want, rtol=1e-5)
  assert range_loss(x, y, on, 2, 7.0, 0.0, 1.0) == 0
  got = range_loss(x, y, on, 2, 10.0, 0.5, 2.0)
  np.testing.assert_allclose(got, 0.5 * (24 / 7 + 2) + 2 * want, rtol=1e-5)


@pytest.mark.parametrize('k', [1, 2, 5])
@pytest.mark.parametrize('c', [2, 7, 40])
def test_against_loops(k, c):
  rng = np.random.default_rng(c)
  x = rng.normal(0, 3, (40, 6)).astype(np.float32)
  y, on = rng.integers(0, c, 40), rng.uniform(size=40) < 0.8
  got = range_loss(x, y, jnp.asarray(on), k, 5.0, 0.3, 0.7)
  np.testing.assert_allclose(got, by_loops(x, y, on, k, 5.0, 0.3, 0.7), rtol=1e-4)


def test_gradient_against_differences():
  rng = np.random.default_rng(3)
  x, y, on = rng.normal(0, 2, (8, 3)), np.array([0, 1, 0, 1, 2, 0, 2, 1]), np.ones(8, bool)
  want, step = np.zeros_like(x), 1e-6
  for i in np.ndindex(*x.shape):
    d = np.zeros_like(x)
    d[i] = step
    args = (y, on, 2, 5.0, 1.0, 1.0)
    want[i] = (by_loops(x + d, *args) - by_loops(x - d, *args)) / (2 * step)
  got = jax.grad(range_loss)(jnp.asarray(x, jnp.float32), y, on, 2, 5.0, 1.0, 1.0)
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)


def test_no_class_twice_and_equal_features():
  x, on = jnp.ones((4, 3)), jnp.ones(4)
  assert range_loss(x, jnp.arange(4), on, 2, 5.0, 1.0, 1.0) == 0
  for y in (jnp.zeros(4, int), jnp.array([0, 0, 1, 1])):
    value, grad = jax.value_and_grad(range_loss)(x, y, on, 2, 5.0, 1.0, 1.0)
    assert 0 <= value < 5.01 and np.isfinite(grad).all()
  assert range_loss(x, jnp.zeros(4, int), jnp.zeros(4), 2, 5.0, 1.0, 1.0) == 0


def test_a_sample_that_is_masked_out_may_be_anything():
  x = jnp.array([[0.0, 0], [3, 0], [jnp.nan, jnp.inf]])
  on = jnp.array([1, 1, 0])
  value, grad = jax.value_and_grad(range_loss)(x, jnp.zeros(3, int), on, 2, 1.0, 1.0, 1.0)
  np.testing.assert_allclose(value, 3, rtol=1e-5)
  np.testing.assert_allclose(grad, [[-1, 0], [1, 0], [0, 0]], atol=1e-5)


def test_as_the_step_calls_it():
  """A joint loss of features alone: those of experts are one vector, each sample has the value."""
  rng = np.random.default_rng(4)
  x = rng.normal(size=(6, 2, 3)).astype(np.float32)
  y, mask = jnp.array([0, 0, 1, 1, 0, 1]), jnp.array([1, 1, 1, 1, 1, 0], bool)
  kind = LOSSES['range']
  assert kind.joint and needs_embedding not in kind.refuses
  (loss,) = kind.build(k=2, margin=5.0, intra=1.0, inter=1.0)
  outs = Outputs(jnp.zeros((6, 2, 2)), jnp.asarray(x))
  values, weights = loss(outs, examples(y, mask), Context(None, {}, None))
  want = by_loops(x.reshape(6, 6), np.asarray(y), np.asarray(mask), 2, 5.0, 1.0, 1.0)
  np.testing.assert_allclose(values, np.full(6, want), rtol=1e-4)
  np.testing.assert_array_equal(weights, mask)
