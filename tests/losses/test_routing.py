"""What the router learns: targets worked by hand, the loss against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.losses import LOSSES, routing
from fass_jax.types import Context, Outputs
from tests.by_hand import examples


def of_ensembles(right):
  """Logits of experts whose ensembles 1..i are right as asked; classes 0 (true) and 1."""
  sums = np.where(np.asarray(right), 1.0, -1.0)  # of all experts so far, for class 0
  own = np.diff(np.concatenate([[0.0], sums]))
  return np.stack([own, np.zeros(len(own))], axis=-1)


def test_targets_by_hand():
  # right with experts (1, 1..2, 1..3) -> is the next one worth asking after 1, after 1..2?
  table = {
    (1, 1, 1): (0, 0),
    (1, 1, 0): (0, 0),
    (1, 0, 1): (0, 1),
    (1, 0, 0): (0, 0),
    (0, 1, 1): (1, 0),
    (0, 1, 0): (1, 0),
    (0, 0, 1): (1, 1),
    (0, 0, 0): (0, 0),
  }
  assert set(table) == set(itertools.product((0, 1), repeat=3))
  logits = jnp.asarray(np.stack([of_ensembles(r) for r in table]))
  got = routing.router_targets(logits, jnp.zeros(8, jnp.int32))
  assert got.dtype == bool
  np.testing.assert_array_equal(got, np.array(list(table.values()), bool))


def oracle(route, logits, labels, positive):
  """The loops of the paper, in double precision."""
  b, e, _ = logits.shape
  out = np.zeros(b)
  for n in range(b):
    right = [np.argmax(np.float64(logits[n, : i + 1]).mean(0)) == labels[n] for i in range(e)]
    for i in range(e - 1):
      p = 1 / (1 + np.exp(-np.float64(route[n, i])))
      saved = not right[i] and any(right[i + 1 :])
      out[n] += -positive * np.log(p) if saved else -np.log(1 - p)
  return out / (e - 1)


def test_loss_against_numpy():
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 2, (200, 4, 3)).astype(np.float32)
  route = rng.normal(0, 2, (200, 3)).astype(np.float32)
  labels = rng.integers(0, 3, 200)
  outs = Outputs(jnp.asarray(logits), jnp.zeros((200, 1)), route=jnp.asarray(route))
  (loss,) = LOSSES['router'].build(positive=100.0)
  values, weights = loss(outs, examples(jnp.asarray(labels)), Context(None, {}, None))
  want = oracle(route, logits, labels, 100.0)
  np.testing.assert_allclose(values, want, rtol=1e-4)
  assert (want > 20).sum() > 20 and values.shape == weights.shape == (200,)


def test_extreme_routes_and_no_gradient_to_the_experts():
  logits = jnp.asarray(np.stack([of_ensembles((0, 1, 1)), of_ensembles((1, 1, 1))]))
  route = jnp.array([[-1e4, 1e4], [1e4, -1e4]])

  def total(route, logits):
    return routing.router_loss(route, logits, jnp.zeros(2, jnp.int32), 100.0).sum()

  value, (dr, dz) = jax.value_and_grad(total, (0, 1))(route, logits)
  # missed a saved sample: 100 x 1e4 / 2; asked in vain twice: 1e4 / 2 each
  np.testing.assert_allclose(value, 5e5 + 5e3 + 5e3, rtol=1e-5)
  np.testing.assert_allclose(dr, [[-50, 0.5], [0.5, 0]], rtol=1e-5)
  np.testing.assert_array_equal(dz, np.zeros_like(dz))
