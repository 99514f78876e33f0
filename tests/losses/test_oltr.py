"""OLTR: the centroid loss with its published gradient, the memory and the head, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.losses import oltr
from fass_jax.nets import memory as mem

B, C, D = 8, 5, 3


def given(seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(B, D)), rng.normal(size=(C, D)), rng.integers(0, C - 1, B)


def by_hand(x, m, y, margin, factor):
  near = sum(((x[i] - m[y[i]]) ** 2).sum() for i in range(len(x))) / (2 * len(x))
  far = sum(((x[i] - m[c]) ** 2).sum() for i in range(len(x)) for c in range(C) if c != y[i])
  return near + factor * max(0.0, margin - far / (len(x) * C))


def test_the_loss_is_the_formula_and_masked_rows_do_not_count():
  x, m, y = given()
  loss = jax.jit(oltr.centroid_loss)
  for margin in (10.0, 1.0):  # the second is reached
    np.testing.assert_allclose(loss(x, m, y, margin, 0.5), by_hand(x, m, y, margin, 0.5), rtol=1e-6)
  on = np.arange(B) % 3 > 0
  got = loss(np.where(on[:, None], x, np.nan), m, y, 10.0, 0.5, on)
  np.testing.assert_allclose(got, by_hand(x[on], m, y[on], 10.0, 0.5), rtol=1e-6)
  assert loss(x, m, y, 0.0, 0.5, np.zeros(B)) == 0


def test_the_gradient_for_the_memory_is_the_published_one():
  x, m, y = given(1)
  by_x, by_m = jax.jit(jax.grad(lambda x, m: oltr.centroid_loss(x, m, y, 0.0, 0.5), (0, 1)))(x, m)
  np.testing.assert_allclose(by_x, (x - m[y]) / B, atol=1e-6)
  want = np.zeros((C, D))
  for c in range(C):
    mine = x[y == c]
    want[c] = (m[c] - mine).sum(0) / (1 + len(mine)) / B
  np.testing.assert_allclose(by_m, want, atol=1e-6)
  assert (np.asarray(by_m)[C - 1] == 0).all() and np.abs(want[:-1]).max() > 0.01


def test_the_repelling_part_has_its_true_gradient():
  x, m, y = given(2)

  def repel(x, m):
    return oltr.centroid_loss(x, m, y, 50.0, 1.0) - oltr.centroid_loss(x, m, y, 0.0, 1.0)

  grads = jax.grad(repel, (0, 1))(jnp.asarray(x), jnp.asarray(m))
  rng = np.random.default_rng(3)
  for k, g in enumerate(grads):
    step = rng.normal(size=g.shape)
    ends = [
      by_hand(*[v + t * step if i == k else v for i, v in enumerate((x, m))], y, 50.0, 1.0)
      - by_hand(*[v + t * step if i == k else v for i, v in enumerate((x, m))], y, 0.0, 1.0)
      for t in (1e-5, -1e-5)
    ]
    np.testing.assert_allclose((g * step).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-4)


# the memory


def parts(seed=4):
  rng = np.random.default_rng(seed)
  return (rng.normal(size=(D, C)), rng.normal(size=C)), (
    rng.normal(size=(D, D)),
    rng.normal(size=D),
  )


def test_embedding_against_numpy():
  x, m, _ = given(5)
  hallucinator, selector = parts()
  z = np.exp(x @ hallucinator[0] + hallucinator[1])
  o = z / z.sum(1, keepdims=True) @ m
  e = np.tanh(x @ selector[0] + selector[1])
  reach = 10 / np.sqrt(((x[:, None] - m[None]) ** 2).sum(-1)).min(1)
  got = jax.jit(mem.embed)(x, m, hallucinator, selector)
  np.testing.assert_allclose(got, reach[:, None] * (x + e * o), rtol=1e-5)
  # a selector of zeros: the feature alone
  nothing = np.zeros((D, D)), np.zeros(D)
  np.testing.assert_allclose(mem.embed(x, m, hallucinator, nothing), reach[:, None] * x, rtol=1e-5)


def test_a_feature_at_a_mean_has_a_large_reach_and_a_finite_gradient():
  x, m, _ = given(6)
  x[0] = m[2]
  reach = np.asarray(mem.reachability(jnp.float32(x), jnp.float32(m)))
  np.testing.assert_allclose(reach[0], 1e7, rtol=1e-5)
  assert (reach[1:] < 1e3).all()
  grads = jax.grad(lambda x, m: mem.embed(x, m, *parts()).sum(), (0, 1))(
    jnp.float32(x), jnp.float32(m)
  )
  assert all(np.isfinite(g).all() for g in grads)


def test_squashed_cosine():
  x, w, _ = given(7)
  got = np.asarray(jax.jit(mem.squashed_cosine)(x, w))
  length = np.linalg.norm(x, axis=1, keepdims=True)
  want = 16 * (x / (1 + length)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
  # the length of a weight has no part in it; a long feature comes near the scale
  np.testing.assert_allclose(mem.squashed_cosine(x, 3 * w), got, rtol=1e-5, atol=2e-6)
  assert 15.9 < np.abs(mem.squashed_cosine(1e4 * w, w, 16.0)).max() < 16
  grad = jax.grad(lambda x: mem.squashed_cosine(x, w).sum())(jnp.zeros((2, D)))
  assert np.isfinite(grad).all() and np.abs(grad).max() > 0
