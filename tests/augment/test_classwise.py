"""CUDA and DODA: magnitudes and draws by their laws, each op against Pillow, both code paths."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.augment import chain
from fass_jax.augment.choose import apply_each, plain
from fass_jax.augment.classwise import (
  CUDA_OPS,
  DODA_OPS,
  cuda,
  cuda_draw,
  cuda_values,
  doda,
)
from fass_jax.augment.pixels import invert
from tests.augment import oracle

NAMES = list(CUDA_OPS)
run_cuda = jax.jit(cuda, static_argnames='serial')
run_doda = jax.jit(doda)

# magnitudes at levels 0 and 10 by hand; translation in pixels of 32
ENDS = {
  'gaussian_blur': (0, 2 / 3), 'resize_crop': (1, 1 + 1 / 6), 'rotate': (0, 10),
  'posterize': (0, 4 / 3), 'solarize': (0, 256 / 3), 'solarize_add': (0, 110 / 3),
  'color': (0.1, 0.7), 'contrast': (0.1, 0.7), 'brightness': (0.1, 0.7), 'sharpness': (0.1, 0.7),
  'shear_x': (0, 0.1), 'shear_y': (0, 0.1),
  'translate_x': (0, 100 / 3 / 32), 'translate_y': (0, 100 / 3 / 32),
}  # fmt: skip


# the table


def test_the_table():
  assert len(CUDA_OPS) == 22
  assert {n for n, r in CUDA_OPS.items() if r.signed} == {
    'rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y',
  }  # fmt: skip
  values = cuda_values()
  assert values.shape == (22, 31) and values.dtype == np.float32
  for name, (first, tenth) in ENDS.items():
    line = values[NAMES.index(name)]
    np.testing.assert_allclose(line[[0, 10]], (first, tenth), rtol=1e-6)
    np.testing.assert_allclose(np.diff(line, 2), 0, atol=2e-5)
  assert set(DODA_OPS) == set(NAMES) - (set(ENDS) - {'gaussian_blur', 'rotate'})


def test_every_op_at_every_level_against_pillow():
  x = oracle.images(2, 32)
  places = [(op, level) for op in range(22) for level in range(1, 11)]
  index, level = np.repeat(np.array(places), 2, 0).T
  ops = [r.op for r in CUDA_OPS.values()]
  every = np.tile(x, (len(places), 1, 1, 1))
  got = jax.jit(lambda *a: apply_each(ops, *a))(index, every, cuda_values()[index, level])
  for name, part in zip(NAMES, np.split(np.asarray(got), 22)):
    low, high = CUDA_OPS[name][1:3]
    side = 32 if name.startswith('translate') else 1
    want = [oracle.pillow(name, x, side * (n / 30 * (high - low) + low)) for n in range(1, 11)]
    oracle.assert_as_pillow(name, part, np.concatenate(want))


# the draws


def test_ops_are_uniform_and_signs_even():
  n = 22 * 2000
  level = np.full(n, 7)
  index, value = map(np.asarray, jax.jit(cuda_draw)(jax.random.key(0), level))
  count = np.bincount(index, minlength=22)
  assert len(count) == 22 and np.abs(count - 2000).max() < 5 * np.sqrt(2000)
  for place, (name, ranged) in enumerate(CUDA_OPS.items()):
    got, full = value[index == place], cuda_values()[place, 7]
    np.testing.assert_array_equal(np.abs(got), full)
    minus = (got < 0).sum()
    assert abs(minus - len(got) / 2) < 5 * np.sqrt(len(got) / 4) if ranged.signed else minus == 0, (
      name
    )


def test_an_image_of_level_l_gets_l_ops():
  """The same draws, one op after another from outside."""
  x, key = oracle.images(44, 32), jax.random.key(3)
  level = np.arange(44) % 5
  want = jnp.asarray(x)
  ops = [r.op for r in CUDA_OPS.values()]
  step = jax.jit(lambda *a: apply_each(ops, *a))
  for i in range(4):
    index, value = cuda_draw(jax.random.fold_in(key, i), level)
    want = jnp.where((level > i)[:, None, None, None], step(index, want, value), want)
  got = np.asarray(run_cuda(key, x, level.astype(np.float32), serial=True))
  np.testing.assert_array_equal(got, want)
  np.testing.assert_array_equal(got[level == 0], x[level == 0])
  assert (got != x).any((1, 2, 3))[level > 0].mean() > 0.8
  # a level beside it plays no part, nor does the batch's highest
  lone = np.asarray(
    run_cuda(key, x, np.where(level == 2, level, 0).astype(np.float32), serial=True)
  )
  np.testing.assert_array_equal(lone[level == 2], got[level == 2])


def test_level_0_is_the_identity():
  x = oracle.images(44, 32)
  zero = np.zeros(44, np.float32)
  np.testing.assert_array_equal(run_cuda(jax.random.key(0), x, zero, serial=True), x)


def test_both_paths_of_cuda_are_equal():
  x = oracle.images(44, 32)
  level = (np.arange(44) % 11).astype(np.float32)
  got, other = (run_cuda(jax.random.key(1), x, level, serial=s) for s in (True, False))
  assert got.dtype == jnp.uint8 and got.shape == x.shape
  np.testing.assert_array_equal(got, other)


# DODA


def test_doda_applies_the_op_that_strength_names():
  x = oracle.images(44, 8)
  strength = np.arange(44) % 11
  got = np.asarray(run_doda(jax.random.key(2), x, strength.astype(np.float32)))
  np.testing.assert_array_equal(got[strength == 0], x[strength == 0])
  for place, name in enumerate(DODA_OPS[:8]):
    mine = strength == place + 1
    oracle.assert_as_pillow(name, got[mine], oracle.pillow(name, x[mine], 0))
  # the last two draw a magnitude: nothing is black in a blur, corners are after a turn
  assert (got[strength == 9] != x[strength == 9]).any((1, 2, 3)).sum() >= 3


def test_doda_draws_radius_and_angle_at_each_call():
  n = 300
  wheel = np.zeros((n, 33, 33, 3), np.uint8)
  wheel[:, 16, 20:] = 255  # a ray to the right
  y = np.asarray(run_doda(jax.random.key(4), wheel, np.full(n, 10, np.float32)))[..., 0]
  rows, columns = np.mgrid[:33, :33] - 16
  angle = np.rad2deg(np.arctan2(-(y * rows).sum((1, 2)), (y * columns).sum((1, 2))))
  assert np.abs(angle).max() < 31 and np.abs(angle).max() > 27
  assert abs((angle > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(n)
  assert abs(np.abs(angle).mean() - 15) < 5 * 30 / np.sqrt(12 * n) + 0.5
  # radius uniform in 0 .. 2: the variance of a blurred line is its square, 4/3 in the mean
  line = np.zeros((n, 33, 33, 3), np.uint8)
  line[:, :, 16] = 255
  z = np.asarray(run_doda(jax.random.key(5), line, np.full(n, 9, np.float32)))[:, 4, :, 0]
  radius2 = (z * (np.arange(33) - 16) ** 2).sum(1) / z.sum(1)
  assert abs(radius2.mean() - 4 / 3) < 0.35 and radius2.max() < 4.5 and radius2.min() < 0.05


# the choice


@pytest.mark.parametrize('serial', [True, False])
def test_an_index_outside_the_table_changes_nothing(serial):
  x = oracle.images(4, 8)
  index = jnp.array([-1, 0, 1, 7])
  got = np.asarray(apply_each([plain(invert)], index, x, jnp.zeros(4), serial))
  np.testing.assert_array_equal(got[[0, 2, 3]], x[[0, 2, 3]])
  np.testing.assert_array_equal(got[1], 255 - x[1])


def test_the_serial_path_is_the_default_on_a_cpu(monkeypatch):
  for backend, serial in (('cpu', True), ('gpu', False)):
    monkeypatch.setattr(jax, 'default_backend', lambda backend=backend: backend)
    text = str(
      jax.make_jaxpr(lambda *a: apply_each([plain(invert)], *a))(
        jnp.zeros(4, jnp.int32), jnp.zeros((4, 8, 8, 3), jnp.uint8), jnp.zeros(4)
      )
    )
    assert (' scan[' in text) == serial


# the place in the chain


def test_order_of_the_chain():
  assert list(chain.OPS) == [
    'resized_crop', 'cam', 'crop', 'flip', 'simclr', 'blur', 'jitter', 'rotation15',
    'autoaugment', 'randaugment', 'cuda', 'doda', 'cutout',
  ]  # fmt: skip


def test_a_chain_of_new_and_old_ops():
  """Rotation comes between flip and Cutout, and moves no draw of either."""
  x, key, ones = oracle.images(16, 32), jax.random.key(0), jnp.ones(16)
  names = ('cutout', 'crop', 'rotation15')
  want = x
  for name in ('crop', 'rotation15', 'cutout'):
    op_key = jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
    want = jax.jit(chain.OPS[name])(op_key, want, ones)
  got = jax.jit(chain.build(names))(key, x, {})
  assert got.dtype == jnp.uint8 and got.shape == x.shape
  np.testing.assert_array_equal(got, want)


def test_a_strength_reaches_its_own_op_alone():
  x, key = oracle.images(16, 32), jax.random.key(0)
  build = jax.jit(chain.build(('cuda', 'doda')))
  none, levels = jnp.zeros(16), jnp.full(16, 3.0)
  np.testing.assert_array_equal(build(key, x, {'cuda': none, 'doda': none}), x)
  got = build(key, x, {'cuda': levels, 'doda': none})
  own = jax.random.fold_in(key, zlib.crc32(b'cuda') & 0x7FFFFFFF)
  np.testing.assert_array_equal(got, run_cuda(own, x, levels))
  assert (np.asarray(got) != np.asarray(x)).any()
