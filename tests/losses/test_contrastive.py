"""The balanced contrastive loss: by hand, against a double loop, masks and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import contrastive
from tests.losses import oracle

# one program a shape compiles faster than every operation alone
balanced_contrastive = jax.jit(contrastive.balanced_contrastive)


def double_loop(z, labels, prototypes, temperature, mask=None):
  """The formula as it stands, sample by sample, in double precision."""
  n, c = len(z), len(prototypes)
  on = np.ones(n, bool) if mask is None else np.asarray(mask, bool)
  a = np.concatenate([z, prototypes]).astype(np.float64)
  y = np.concatenate([labels, np.arange(c)])
  alive = np.concatenate([on, np.ones(c, bool)])
  cnt = [1 + sum(on[j] and labels[j] == k for j in range(n)) for k in range(c)]
  values = np.zeros(n)
  for i in range(n):
    if not on[i]:
      continue
    others = [j for j in range(n + c) if j != i and alive[j]]
    s = {j: a[i] @ a[j] / temperature for j in others}
    d = sum(np.exp(s[j]) / (cnt[y[j]] - (y[j] == y[i])) for j in others)
    values[i] = -np.mean([s[j] - np.log(d) for j in others if y[j] == y[i]])
  return values


def problem(seed, n=12, c=4, p=6, classes=None):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes or c, n).astype(np.int32)
  return oracle.unit_rows(rng, n, p), labels, oracle.unit_rows(rng, c, p)


def test_by_hand():
  # two classes along the axes, one image each in two views, T = 1: for every anchor its class
  # gives (e + e) / 2 = e, the other (1 + 1 + 1) / 3 = 1, so the loss is log(e + 1) - 1
  axes = jnp.eye(2)
  labels = jnp.array([0, 1, 0, 1])
  got = balanced_contrastive(axes[labels], labels, axes, 1.0)
  np.testing.assert_allclose(got, np.full(4, np.log(np.e + 1) - 1), rtol=1e-6)


def test_the_divisors_by_hand():
  # all similarities 1: D = e^(1/T) (number of classes), whatever their sizes, so L = log C
  labels = jnp.array([0, 0, 0, 0, 1, 1])
  got = balanced_contrastive(jnp.ones((6, 1)), labels, jnp.ones((3, 1)), 0.1)
  np.testing.assert_allclose(got, np.full(6, np.log(3)), rtol=1e-5)


@pytest.mark.parametrize('temperature', [0.07, 0.1, 1.0])
def test_against_the_double_loop(temperature):
  z, labels, prototypes = problem(0)
  got = balanced_contrastive(z, labels, prototypes, temperature)
  np.testing.assert_allclose(
    got, double_loop(z, labels, prototypes, temperature), rtol=1e-5, atol=1e-5
  )
  assert got.shape == (12,) and got.dtype == jnp.float32


def test_classes_without_samples_are_there_through_their_prototypes():
  z, labels, prototypes = problem(1, c=7, classes=2)
  got = balanced_contrastive(z, labels, prototypes, 0.1)
  np.testing.assert_allclose(got, double_loop(z, labels, prototypes, 0.1), rtol=1e-5, atol=1e-5)
  fewer = balanced_contrastive(z, labels, prototypes[:2], 0.1)
  assert (np.asarray(got) > np.asarray(fewer)).all()


def test_half_precision():
  z, labels, prototypes = problem(2)
  half = [np.asarray(jnp.asarray(x, jnp.bfloat16)) for x in (z, prototypes)]
  got = balanced_contrastive(jnp.asarray(half[0]), labels, jnp.asarray(half[1]), 0.1)
  want = double_loop(half[0].astype(np.float64), labels, half[1].astype(np.float64), 0.1)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_order_of_the_samples_does_not_matter():
  z, labels, prototypes = problem(3)
  order = np.random.default_rng(0).permutation(12)
  one = balanced_contrastive(z, labels, prototypes, 0.1)
  two = balanced_contrastive(z[order], labels[order], prototypes, 0.1)
  np.testing.assert_allclose(two, np.asarray(one)[order], rtol=1e-5, atol=1e-5)


# masks


@pytest.mark.parametrize('seed', range(2))
def test_masked_samples_are_not_there(seed):
  z, labels, prototypes = problem(seed)
  mask = np.random.default_rng(seed).random(12) < 0.6
  got = balanced_contrastive(z, labels, prototypes, 0.1, jnp.asarray(mask, jnp.float32))
  np.testing.assert_allclose(
    got, double_loop(z, labels, prototypes, 0.1, mask), rtol=1e-5, atol=1e-5
  )
  short = balanced_contrastive(z[mask], labels[mask], prototypes, 0.1)
  np.testing.assert_allclose(np.asarray(got)[mask], short, rtol=1e-5, atol=1e-5)
  assert (np.asarray(got)[~mask] == 0).all()


def test_no_gradient_through_masked_samples():
  z, labels, prototypes = problem(5)
  # the last is the only one of its class: its own divisor would be 0
  labels[:11] %= 3
  labels[11] = 3
  mask = np.arange(12) < 9

  def loss(z, p):
    return balanced_contrastive(z, labels, p, 0.1, jnp.asarray(mask)).sum()

  dz, dp = jax.grad(loss, (0, 1))(jnp.asarray(z), jnp.asarray(prototypes))
  assert np.isfinite(dz).all() and np.isfinite(dp).all()
  assert (np.asarray(dz)[9:] == 0).all()
  assert (np.abs(np.asarray(dz)[:9]).max(1) > 1e-3).all()
  assert (np.abs(np.asarray(dp)).max(1) > 1e-6).all()


def test_everything_masked():
  z, labels, prototypes = problem(6)

  def loss(z):
    return balanced_contrastive(z, labels, prototypes, 0.1, jnp.zeros(12)).sum()

  value, grad = jax.value_and_grad(loss)(jnp.asarray(z))
  assert value == 0 and (grad == 0).all()


# gradients


def test_gradient_against_differences():
  z, labels, prototypes = problem(7, n=5, c=3, p=3)

  def numeric(f, x):
    x, step, g = np.float64(x), 1e-6, np.zeros(x.shape)
    for i in np.ndindex(*x.shape):
      d = np.zeros_like(x)
      d[i] = step
      g[i] = (f(x + d) - f(x - d)) / (2 * step)
    return g

  got = jax.grad(lambda z, p: balanced_contrastive(z, labels, p, 0.5).sum(), (0, 1))(
    jnp.asarray(z), jnp.asarray(prototypes)
  )
  want_z = numeric(lambda x: double_loop(x, labels, prototypes, 0.5).sum(), z)
  want_p = numeric(lambda x: double_loop(z, labels, x, 0.5).sum(), prototypes)
  np.testing.assert_allclose(got[0], want_z, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(got[1], want_p, rtol=1e-4, atol=1e-4)


def test_a_temperature_at_which_exp_would_overflow():
  z, labels, prototypes = problem(8)
  value, grad = jax.value_and_grad(
    lambda z: balanced_contrastive(z, labels, prototypes, 1e-4).mean()
  )(jnp.asarray(z))
  assert np.isfinite(value) and np.isfinite(grad).all() and np.abs(grad).max() > 1
