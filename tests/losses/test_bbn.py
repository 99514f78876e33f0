"""BBN's share of the branches, its logits and its loss, by hand and against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.losses import combine
from fass_jax.losses.bbn import bbn_alpha, bbn_logits, bbn_loss
from fass_jax.losses.build import LOSSES
from fass_jax.types import Context, Outputs, Targets, Time
from tests.by_hand import examples
from tests.losses import oracle


def at(epoch):
  return Time(jnp.int32(0), jnp.int32(epoch), jnp.float32(0))


def test_alpha_falls_as_published():
  # the code counts from 1: T = 1 and T = 200 of 200
  np.testing.assert_allclose(bbn_alpha(0, 200), 1.0)
  np.testing.assert_allclose(bbn_alpha(199, 200), 0.009975, rtol=1e-4)
  np.testing.assert_allclose(bbn_alpha(jnp.int32(100), 200), 0.75)


def test_the_released_code_has_twice_the_logits():
  """h = 2 concat(a f_c, (1 - a) f_r) through one linear layer, against two."""
  rng = np.random.default_rng(0)
  f_c, f_r, w = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.normal(size=(8, 3))
  for alpha in (0.5, 0.8):
    theirs = 2 * np.concatenate([alpha * f_c, (1 - alpha) * f_r], 1) @ w
    ours = bbn_logits(jnp.asarray(f_c @ w[:4]), jnp.asarray(f_r @ w[4:]), alpha)
    np.testing.assert_allclose(theirs, 2 * ours, rtol=1e-4, atol=1e-5)
  # at test time their concat has no factor: the sum of both, twice the mean of the branches
  np.testing.assert_allclose(
    np.concatenate([f_c, f_r], 1) @ w,
    2 * bbn_logits(jnp.asarray(f_c @ w[:4]), jnp.asarray(f_r @ w[4:]), 0.5),
    rtol=1e-4,
    atol=1e-5,
  )


def test_a_bias_a_branch_holds_the_single_one_of_the_released_code():
  """alpha b + (1 - alpha) b is b: one bias is both of ours, once for their two logits."""
  rng = np.random.default_rng(4)
  f_c, f_r, w = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.normal(size=(8, 3))
  b, alpha = rng.normal(size=3), 0.8
  theirs = 2 * np.concatenate([alpha * f_c, (1 - alpha) * f_r], 1) @ w + b
  z_c, z_r = (jnp.asarray(f @ part + b / 2) for f, part in ((f_c, w[:4]), (f_r, w[4:])))
  np.testing.assert_allclose(theirs, 2 * bbn_logits(z_c, z_r, alpha), rtol=1e-4, atol=1e-5)


def test_by_hand():
  # alpha 3/4; z_c = (ln 16, 0) and z_r = (0, ln 16): z = (ln 8, ln 2), p = (4/5, 1/5)
  big = np.log(16.0)
  logits = jnp.array([[[big, 0.0], [9.0, 9.0]], [[7.0, 0.0], [0.0, big]]])
  got = bbn_loss(logits, jnp.array([0, 1]), 0.75)
  np.testing.assert_allclose(got, [1.5 * np.log(5 / 4), 0.5 * np.log(5)], rtol=1e-6)


def test_the_mean_of_the_rows_is_the_papers_loss():
  rng = np.random.default_rng(1)
  z, y = rng.normal(0, 2, (12, 2, 4)), rng.integers(0, 4, 12)
  (loss,) = LOSSES['bbn'].build(epochs=10)
  outs = Outputs(jnp.asarray(z, jnp.float32), jnp.zeros((12, 2, 1)))
  targets = Targets(jnp.asarray(y), jnp.asarray(y), jnp.ones(12))
  got = combine.pair_loss(loss, outs, targets, jnp.ones(12), Context(None, {}, at(4)), False)
  alpha = 1 - 0.4**2
  mixed = alpha * z[:6, 0] + (1 - alpha) * z[6:, 1]
  want = (alpha * oracle.ce(mixed, y[:6]) + (1 - alpha) * oracle.ce(mixed, y[6:])).mean()
  np.testing.assert_allclose(got, want, rtol=1e-5)
  # divided by the rows of both views it is the same
  again = combine.pair_loss(
    loss, outs, targets, jnp.ones(12), Context(None, {}, at(4)), False, 12.0
  )
  np.testing.assert_allclose(again, want, rtol=1e-5)


def test_mixed_labels():
  rng = np.random.default_rng(2)
  z = jnp.asarray(rng.normal(size=(4, 2, 3)), jnp.float32)
  a, b, lam = jnp.array([0, 1, 2, 0]), jnp.array([2, 2, 2, 0]), jnp.array([0.3, 0.6, 1.0, 1.0])
  (loss,) = LOSSES['bbn'].build(epochs=10)
  outs, context = Outputs(z, jnp.zeros((4, 2, 1))), Context(None, {}, at(5))
  got = combine.pair_loss(loss, outs, Targets(a, b, lam), jnp.ones(4), context, True)
  one, two = bbn_loss(z, a, 0.75), bbn_loss(z, b, 0.75)
  np.testing.assert_allclose(got, (lam * one + (1 - lam) * two).mean(), rtol=1e-5)


def test_a_filler_takes_its_partner_out():
  """A row's logits are a blend of two images: where one does not count, neither label does."""
  z, mask = jnp.zeros((4, 2, 3)), jnp.array([1, 0, 1, 1], bool)
  (loss,) = LOSSES['bbn'].build(epochs=10)
  outs = Outputs(z, jnp.zeros((4, 2, 1)))
  _, weights = loss(outs, examples(jnp.zeros(4, int), mask), Context(None, {}, at(0)))
  np.testing.assert_array_equal(weights, [1, 0, 1, 0])


@pytest.mark.parametrize('shape', [(3, 2, 4), (4, 1, 4), (4, 3, 4)])
def test_shapes_that_are_no_two_branches(shape):
  with pytest.raises(AssertionError, match=r'expected logits \[2B, 2, C\]'):
    bbn_loss(jnp.zeros(shape), jnp.zeros(shape[0], int), 0.5)
