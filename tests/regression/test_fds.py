"""FDS against loops in double precision, its delay, and rows that must not spoil it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.regression import fds_init, fds_smooth, fds_update, kernel_window
from fass_jax.regression.fds import add_moments, advance, no_moments

BINS, WIDTH = 6, 4
WINDOW = kernel_window('gaussian', 5, 2)
update = jax.jit(fds_update, static_argnames='momentum')
smooth = jax.jit(
  lambda s, z, b, order='code', clip=(0.1, 10.0): fds_smooth(
    s, z, b, window=WINDOW, clip=clip, order=order
  ),
  static_argnames=('order', 'clip'),
)


class Oracle:
  """The definition, bin by bin."""

  def __init__(self):
    self.mean, self.var = np.zeros((BINS, WIDTH)), np.ones((BINS, WIDTH))
    self.before = self.mean.copy(), self.var.copy()
    self.tracked, self.updates = np.zeros(BINS), 0

  def update(self, z, bins, momentum):
    self.before = self.mean.copy(), self.var.copy()
    for b in np.unique(bins):
      rows = z[bins == b].astype(np.float64)
      self.tracked[b] += len(rows)
      keep = 1 - len(rows) / self.tracked[b] if momentum is None else momentum
      keep = 0.0 if self.updates == 0 else keep
      var = rows.var(0, ddof=1) if len(rows) > 1 else np.zeros(WIDTH)
      self.mean[b] = (1 - keep) * rows.mean(0) + keep * self.mean[b]
      self.var[b] = (1 - keep) * var + keep * self.var[b]
    self.updates += 1

  def smooth(self, z, bins, clip, order):
    if self.updates < (2 if order == 'code' else 1):
      return z
    m, v = self.before if order == 'code' else (self.mean, self.var)

    def over(values):
      padded = np.pad(values, ((2, 2), (0, 0)), mode='reflect')
      return np.stack([(WINDOW[:, None] * padded[b : b + 5]).sum(0) for b in range(BINS)])

    m, v, out = over(m), over(v), z.astype(np.float64).copy()
    for i, b in enumerate(bins):
      for d in range(WIDTH):
        if self.var[b, d] > 0:
          ratio = np.clip(v[b, d] / self.var[b, d], *clip)
          out[i, d] = (out[i, d] - self.mean[b, d]) * ratio**0.5 + m[b, d]
    return out


def drawn(seed, n=300, without=3):
  """Features whose mean and spread differ by bin; bin `without` is empty, bin 5 has one row."""
  rng = np.random.default_rng(seed)
  bins = rng.integers(0, BINS - 1, n)
  bins = np.append(bins[bins != without], BINS - 1).astype(np.int32)
  z = rng.normal(size=(len(bins), WIDTH)) * (1 + 3 * bins[:, None]) + bins[:, None]
  return z.astype(np.float32), bins


@pytest.mark.parametrize('order', ['code', 'paper'])
@pytest.mark.parametrize('momentum', [0.9, 0.5, None])
def test_against_loops(momentum, order):
  oracle, state = Oracle(), fds_init(BINS, WIDTH)
  probe, bins = drawn(9, without=-1)
  for epoch in range(4):
    z, b = drawn(epoch, without=3 if epoch < 2 else -1)
    oracle.update(z, b, momentum)
    state = update(state, z, b, momentum=momentum)
    np.testing.assert_allclose(state.mean, oracle.mean, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(state.var, oracle.var, rtol=2e-6, atol=1e-6)
    for clip in ((0.1, 10.0), (0.5, 2.0)):
      want = oracle.smooth(probe, bins, clip, order)
      got = smooth(state, probe, bins, order, clip)
      np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-5)


def test_the_delay():
  probe, bins = drawn(9)
  state = fds_init(BINS, WIDTH)
  for updates in range(3):
    code, paper = (np.asarray(smooth(state, probe, bins, o)) for o in ('code', 'paper'))
    assert np.array_equal(code, probe) == (updates < 2)
    assert np.array_equal(paper, probe) == (updates < 1)
    state = update(state, *drawn(updates), momentum=0.9)


def test_unfilled_bins_and_bins_without_spread():
  z, b = drawn(0)
  state = update(update(fds_init(BINS, WIDTH), z, b, momentum=0.9), z, b, momentum=0.9)
  assert not state.mean[3].any() and (state.var[3] == 1).all()
  assert not state.var[5].any()  # of one row
  out = smooth(state, z, b)
  np.testing.assert_array_equal(out[-1], z[-1])
  assert (np.abs(np.asarray(out[:-1]) - z[:-1]).max(0) > 0.1).all()
  # one dimension without spread: it alone stays as it is
  flat = z.copy()
  flat[:, 1] = 7.0
  state = update(update(fds_init(BINS, WIDTH), flat, b, momentum=0.9), flat, b, momentum=0.9)
  out = np.asarray(smooth(state, flat, b))
  np.testing.assert_array_equal(out[:, 1], flat[:, 1])
  assert np.abs(out[:-1, 0] - flat[:-1, 0]).max() > 0.1


def test_identity_where_the_neighbours_are_alike():
  """A window of one bin, and statistics that stay the same from update to update."""
  z, b = drawn(0)
  state = fds_init(BINS, WIDTH)
  for _ in range(3):
    state = update(state, z, b, momentum=0.9)
  for order in ('code', 'paper'):
    got = fds_smooth(state, z, b, window=np.ones(1), clip=(0.1, 10.0), order=order)
    np.testing.assert_allclose(got, z, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_counted_out(bad):
  z, b = drawn(0)
  spoiled = np.concatenate([z, np.full((2, WIDTH), bad, np.float32), z[:1] * [1, 1, bad, 1]])
  bins = np.concatenate([b, [0, 3], b[:1]]).astype(np.int32)
  want = update(fds_init(BINS, WIDTH), z, b, momentum=0.9)
  got = update(fds_init(BINS, WIDTH), spoiled.astype(np.float32), bins, momentum=0.9)
  for x, y in zip(got, want):
    np.testing.assert_allclose(x, y, rtol=1e-6)
  state = update(want, z, b, momentum=0.9)
  assert np.isfinite(smooth(state, spoiled.astype(np.float32), bins)[: len(z)]).all()


def test_rows_of_bins_that_do_not_exist():
  z, b = drawn(0)
  state = update(fds_init(BINS, WIDTH), z, b, momentum=0.9)
  more = np.concatenate([z, np.full((2, WIDTH), 50, np.float32)])
  bins = np.concatenate([b, [-1, BINS]]).astype(np.int32)
  for x, y in zip(update(fds_init(BINS, WIDTH), more, bins, momentum=0.9), state):
    np.testing.assert_allclose(x, y, rtol=1e-6)
  np.testing.assert_array_equal(smooth(state, more, bins, 'paper')[-2:], more[-2:])


def test_in_batches_as_at_once():
  """A pass over the training set in batches, with the padding of the last one masked out."""
  z, b = drawn(0)
  z += 1e4  # far from 0, where a mean of squares would have lost the variance
  moments = no_moments(BINS, WIDTH)
  add = jax.jit(add_moments)
  for start in range(0, len(z), 64):
    place = np.minimum(np.arange(start, start + 64), len(z) - 1)
    moments = add(moments, z[place], b[place], np.arange(start, start + 64) < len(z))
  got = advance(fds_init(BINS, WIDTH), moments)
  want = update(fds_init(BINS, WIDTH), z, b, momentum=0.9)
  exact = Oracle()
  exact.update(z, b, 0.9)
  for found in (got, want):
    np.testing.assert_allclose(found.mean, exact.mean, rtol=1e-6)
    np.testing.assert_allclose(found.var, exact.var, rtol=1e-3)
    np.testing.assert_array_equal(found.tracked, np.bincount(b, minlength=BINS))


def test_its_gradient_is_finite_and_that_of_the_scale():
  z, b = drawn(0)
  state = update(update(fds_init(BINS, WIDTH), z, b, momentum=0.9), z, b, momentum=0.9)
  grad = jax.grad(lambda x: smooth(state, x, b).sum())(jnp.asarray(z))
  ahead = np.asarray(smooth(state, z + 1, b) - smooth(state, z, b))
  np.testing.assert_allclose(grad, ahead, rtol=1e-3, atol=1e-4)
  with pytest.raises(ValueError, match='order'):
    fds_smooth(state, z, b, window=WINDOW, clip=(0.1, 10.0), order='both')
