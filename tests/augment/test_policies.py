"""AutoAugment, RandAugment, rotation, SimCLR: tables and draws by their laws, pixels by Pillow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from fass_jax.augment import pixels, policies
from tests.augment import oracle

run_auto = jax.jit(policies.autoaugment, static_argnames='serial')
run_rand = jax.jit(policies.rand_augment())
run_blur = jax.jit(policies.blur)
run_simclr = jax.jit(policies.simclr, static_argnames='serial')
NAMES = policies.NAMES
N = 200  # one batch size at 8 pixels: one compilation for several tests


def by_pillow(image, name, value):
  """One op of the policies as torchvision hands it to Pillow."""
  low = {'ShearX': 'shear_x', 'ShearY': 'shear_y', 'TranslateX': 'translate_x'}
  low = low.get(name, 'translate_y' if name == 'TranslateY' else name.lower())
  if name.startswith('Translate'):
    value = int(value * image.size[0])
  if name in ('Brightness', 'Color', 'Contrast', 'Sharpness'):
    value = 1 + value
  return image if name == 'Identity' else oracle.OPS[low](image, value)


def sequence(x, index, value):
  """Applies to each image its ops one after another."""
  out = []
  for image, ops, values in zip(x, np.asarray(index), np.asarray(value, float)):
    image = Image.fromarray(image)
    for op, v in zip(ops, values):
      image = by_pillow(image, NAMES[op], v) if op < len(NAMES) else image
    out.append(np.asarray(image))
  return np.stack(out)


def assert_nearly_all_equal(got, want):
  """Later ops may widen an off-by-one of an earlier one: most images are equal to the bit."""
  got = np.asarray(got)
  assert got.dtype == np.uint8 and got.shape == want.shape
  off = np.abs(got.astype(int) - want)
  assert (off == 0).all((1, 2, 3)).mean() > 0.7
  assert np.median(off.mean((1, 2, 3))) == 0 and (off > 1).mean() < 0.005


# AutoAugment and RandAugment


def test_magnitudes_are_torchvisions():
  bins = [[policies.magnitude(name, b / 9) for b in range(10)] for name in NAMES]
  table = dict(zip(NAMES, bins))
  assert table['Posterize'] == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]
  np.testing.assert_allclose(table['Solarize'], np.linspace(255, 0, 10), atol=1e-9)
  np.testing.assert_allclose(table['Rotate'], np.linspace(0, 30, 10))
  np.testing.assert_allclose(table['TranslateX'][9] * 331, 150)
  assert table['ShearX'][9] == 0.3 and table['Color'][9] == 0.9
  signed = {n for n, s in zip(NAMES, policies.SIGNED) if s}
  assert signed == set(NAMES[:9])


def test_the_policy_of_cifar10():
  ops, chance, values = policies.policy()
  assert ops.shape == chance.shape == values.shape == (25, 2)
  count = np.bincount(ops.ravel(), minlength=len(NAMES))
  assert dict(zip(NAMES, count.tolist())) == {
    'ShearX': 0, 'ShearY': 2, 'TranslateX': 2, 'TranslateY': 5, 'Rotate': 1, 'Brightness': 4,
    'Color': 5, 'Contrast': 2, 'Sharpness': 5, 'Posterize': 1, 'Solarize': 4, 'AutoContrast': 7,
    'Equalize': 9, 'Invert': 3, 'Identity': 0,
  }  # fmt: skip
  np.testing.assert_allclose(chance.sum(0), (13.4, 13.1), atol=1e-5)


def test_autoaugment_draws():
  n = 50000
  draw = jax.jit(policies.autoaugment_draw, static_argnums=1)
  index, value = map(np.asarray, draw(jax.random.key(0), n))
  ops, chance, values = policies.policy()
  for side in range(2):
    for op in range(len(NAMES)):
      p = chance[ops[:, side] == op, side].sum() / 25
      got = (index[:, side] == op).mean()
      assert abs(got - p) <= 5 * np.sqrt(p * (1 - p) / n), NAMES[op]
      drawn, table = value[index[:, side] == op, side], values[ops[:, side] == op, side]
      assert set(np.abs(drawn)) <= set(table)
      drawn = drawn[drawn != 0]
      if policies.SIGNED[op] and len(drawn) > 100:
        assert abs((drawn < 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(len(drawn))
      else:
        assert policies.SIGNED[op] or (drawn > 0).all()


def test_randaugment_draws():
  n = 28000
  draw = jax.jit(policies.randaugment_draw, static_argnums=(1, 2, 3))
  index, value = map(np.asarray, draw(jax.random.key(0), n, 3, 15.0))
  assert index.shape == value.shape == (n, 3)
  for line in index.T:
    count = np.bincount(line, minlength=len(NAMES))
    assert count[NAMES.index('Invert')] == 0
    assert np.abs(np.delete(count, NAMES.index('Invert')) - n / 14).max() < 5 * np.sqrt(n / 14)
  for name, want in (('Rotate', 15), ('ShearX', 0.15), ('Posterize', 6), ('Solarize', 127.5)):
    np.testing.assert_allclose(np.abs(value[index == NAMES.index(name)]), want, rtol=1e-6)


@pytest.mark.parametrize('name', ['autoaugment', 'randaugment'])
def test_pixels_are_pillows(name):
  x, key = oracle.images(96, 32), jax.random.key(7)
  if name == 'autoaugment':
    got, draws = run_auto(key, x, np.ones(96, np.float32)), policies.autoaugment_draw(key, 96)
  else:
    got, draws = run_rand(key, x, np.ones(96, np.float32)), policies.randaugment_draw(key, 96, 2, 9)
  assert_nearly_all_equal(got, sequence(x, *draws))


run_rotation = jax.jit(lambda *a, serial: policies.rotation15(*a), static_argnames='serial')


@pytest.mark.parametrize('run', [run_auto, run_simclr, run_rotation])
def test_strength_0_is_the_identity_and_others_are_alike(run):
  x, key = oracle.images(N, 8), jax.random.key(0)
  strength = np.arange(N) % 3
  got = np.asarray(run(key, x, strength.astype(np.float32), serial=True))
  np.testing.assert_array_equal(got[strength == 0], x[strength == 0])
  full = np.asarray(run(key, x, np.ones(N, np.float32), serial=True))
  np.testing.assert_array_equal(got[strength > 0], full[strength > 0])
  assert (full != x).any((1, 2, 3)).mean() > 0.4


@pytest.mark.parametrize('run', [run_auto, run_simclr])
def test_both_paths_are_equal(run):
  x, ones = oracle.images(N, 8), np.ones(N, np.float32)
  got, other = (run(jax.random.key(1), x, ones, serial=s) for s in (True, False))
  np.testing.assert_array_equal(got, other)


# rotation


def test_rotation15():
  x, key = oracle.images(64, 32), jax.random.key(3)
  got = np.asarray(jax.jit(policies.rotation15)(key, x, jnp.ones(64)))
  angle = np.asarray(jax.random.uniform(key, (64,), minval=-15, maxval=15), float)
  want = np.stack([np.asarray(Image.fromarray(i).rotate(a)) for i, a in zip(x, angle)])
  oracle.assert_as_pillow('rotate', got, want)
  assert (got[np.abs(angle) > 8][:, 0, 0] == 0).all()  # a black corner
  assert angle.min() < -12 and angle.max() > 12


# SimCLR


@functools.cache
def boxes(height, width, n=20000):
  draw = jax.jit(policies.crop_boxes, static_argnums=(1, 2, 3, 4))
  return tuple(map(np.asarray, draw(jax.random.key(0), n, height, width, (0.2, 1.0))))


@pytest.mark.parametrize(('height', 'width'), [(32, 32), (48, 32)])
def test_boxes_lie_inside(height, width):
  top, left, rows, columns = boxes(height, width)
  assert top.min() >= 0 and left.min() >= 0 and rows.min() >= 1 and columns.min() >= 1
  assert (top + rows <= height).all() and (left + columns <= width).all()
  # both borders are reached, and the middle of the box is the image's in the mean
  assert (top + rows == height).any() and (left + columns == width).any()
  assert abs((top + rows / 2).mean() - height / 2) < 0.02 * height


def test_boxes_have_the_area_and_the_ratio():
  _, _, rows, columns = boxes(32, 32)
  area, ratio = rows * columns / 32**2, columns / rows
  assert area.min() > 0.17 and area.max() == 1
  assert 0.7 < ratio.min() < 0.78 and 1.28 < ratio.max() < 1.42
  assert abs(np.log(ratio).mean()) < 0.01
  # uniform but for the large ones with a long side, which are drawn again
  assert abs((area < 0.4).mean() / (area < 0.6).mean() - 0.5) < 0.03
  rng, want = np.random.default_rng(0), []
  while len(want) < 20000:  # torchvision's loop
    for _ in range(10):
      size, r = 1024 * rng.uniform(0.2, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
      w, h = round(np.sqrt(size * r)), round(np.sqrt(size / r))
      if w <= 32 and h <= 32:
        want.append(w * h / 1024)
        break
    else:
      want.append(1)
  for share in np.linspace(0.205, 0.995, 9):
    assert abs((area < share).mean() - (np.array(want) < share).mean()) < 0.025


def test_resizing_is_pillows():
  x = oracle.images(100, 32)
  top, left, rows, columns = (a[:100] for a in boxes(32, 32))
  got = np.asarray(jax.jit(policies.resized)(x, top, left, rows, columns))
  want = [
    Image.fromarray(i).crop((c, r, c + w, r + h)).resize((32, 32), Image.Resampling.BILINEAR)
    for i, r, c, h, w in zip(x, top, left, rows, columns)
  ]
  oracle.assert_as_pillow('resize', got, np.stack(list(map(np.asarray, want))))


def test_simclr_greys_a_fifth():
  n = 10 * N
  x = np.tile(np.uint8([200, 30, 90]), (N, 8, 8, 1))
  ones = np.ones(N, np.float32)
  y = [run_simclr(jax.random.key(i), x, ones, serial=True) for i in range(10)]
  x, y = np.tile(x, (10, 1, 1, 1)), np.concatenate(y)
  assert y.dtype == np.uint8 and y.shape == x.shape
  grey = (np.ptp(y, 3) == 0).all((1, 2))
  assert abs(grey.mean() - 0.2) < 5 * 0.4 / np.sqrt(n)
  # of the coloured ones a fifth is untouched by the jitter: a flat image stays what it was
  same = (y == x).all((1, 2, 3))[~grey]
  assert abs(same.mean() - 0.2) < 5 * 0.4 / np.sqrt(0.8 * n) + 0.01
  one = oracle.images(1, 8)
  luma = np.asarray(ImageOps.grayscale(Image.fromarray(one[0])))
  np.testing.assert_array_equal(policies.pixels.grey(jnp.asarray(one))[0, :, :, 0], luma)


def test_half_of_the_images_are_blurred_between_a_tenth_of_a_pixel_and_two():
  x = np.tile(oracle.images(2, 16), (N, 1, 1, 1))
  y = np.asarray(run_blur(jax.random.key(0), x, np.ones(2 * N, np.float32)))
  noise = x[::2].astype(float), y[::2].astype(float)
  # what remains of the differences of neighbours says how strong the blur is
  sharp, left = (np.abs(np.diff(v, axis=2)).mean((1, 2, 3)) for v in noise)
  kept = left / sharp
  assert abs((kept == 1).mean() - 0.5) < 5 * 0.5 / N**0.5
  ends = [np.asarray(pixels.gaussian_blur(x[:1], np.float32([s]))).astype(float) for s in (0.1, 2)]
  weak, strong = (np.abs(np.diff(v, axis=2)).mean() / sharp[0] for v in ends)
  assert strong - 1e-6 <= kept.min() < 1.3 * strong and kept[kept < 1].max() <= weak + 1e-6
  for image, blurred in zip(x, y):
    want = oracle.pillow('gaussian_blur', image[None], 2)[0]
    assert np.abs(blurred.astype(float) - image).sum() <= 1.01 * np.abs(want * 1.0 - image).sum()
  off = run_blur(jax.random.key(0), x, np.zeros(2 * N, np.float32))
  np.testing.assert_array_equal(off, x)
