"""CAM-based sampling: how many, what is foreground, how it moves, what is pasted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fass_jax.augment import chain
from fass_jax.augment.cam import (
  ANGLE,
  SCALE,
  Sight,
  cam,
  draw_moves,
  foreground,
  generated_share,
  paste_moved,
)
from tests.augment import oracle

SIDE = 16
IDENTITY = np.eye(2), np.zeros(2), np.zeros(2)


def test_new_images_balance_the_classes():
  n = jnp.array([500, 50, 5])
  share = np.asarray(generated_share(n))
  np.testing.assert_allclose(share, [5 / 505, 455 / 505, 500 / 505], rtol=1e-6)
  # each class has n_max + n_min images, its own and new ones
  np.testing.assert_allclose(n / (1 - share), np.full(3, 505), rtol=1e-5)
  np.testing.assert_allclose(generated_share(jnp.array([7, 7])), [0.5, 0.5])


def test_foreground_by_hand():
  """Weights 1, 1, .75, .25, 0, 0 of the left of two columns; mean .5, so from .375 on."""
  mask = foreground(jnp.array([[[9.0, 5.0]] * 2, [[-1.0, 1.0]] * 2]), 2, 4)
  np.testing.assert_array_equal(mask, [[[1, 1, 0, 0]] * 2, [[0, 0, 1, 1]] * 2])
  # nothing stands out: all of it
  assert bool(foreground(jnp.full((1, 2, 2), 3.0), 4, 4).all())


def test_foreground_in_numbers_of_opencv():
  """As there: scaled to 0 .. 255, enlarged bilinearly, from 3/4 of the mean on."""
  cv2 = pytest.importorskip('cv2', reason="needs the extra fast: pip install 'fass-jax[fast]'")
  activation = np.random.default_rng(0).normal(size=(50, 4, 4)).astype(np.float32)
  got = np.asarray(foreground(jnp.asarray(activation), 32, 32))
  for mask, a in zip(got, activation):
    grey = 255 * (a - a.min()) / (a.max() - a.min())
    large = cv2.resize(grey, (32, 32))
    bound = 0.75 * large.mean()
    far = np.abs(large - bound) > 0.01
    np.testing.assert_array_equal(mask[far], (large >= bound)[far])
    assert far.mean() > 0.99 and 0 < mask.mean() < 1


def boxes(n, seed=0):
  """Masks `[n, SIDE, SIDE]` of random boxes, and their top, bottom, left, right."""
  rng = np.random.default_rng(seed)
  ends = np.sort(rng.integers(0, SIDE, (2, n, 2)), axis=2)
  y, x = np.mgrid[:SIDE, :SIDE]
  (top, bottom), (left, right) = ends[0].T, ends[1].T
  mask = np.stack([(y >= t) & (y <= b) & (x >= left) & (x <= r)
                   for t, b, left, r in zip(top, bottom, left, right)])  # fmt: skip
  return mask, (top, bottom, left, right)


def test_moves_are_of_three_kinds_and_of_the_right_size():
  n = 6000
  mask, (top, bottom, left, right) = boxes(n)
  matrix, centre, offset = map(np.asarray, draw_moves(jax.random.key(0), jnp.asarray(mask)))
  det = np.linalg.det(matrix)
  mirrored, shifted = det < 0, (matrix == np.eye(2)).all((1, 2))
  turned = ~mirrored & ~shifted
  for kind in (mirrored, shifted, turned):
    assert abs(kind.mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / n)
  # turned and scaled about the middle of the box
  scale = det[turned] ** -0.5
  angle = np.degrees(np.arctan2(matrix[turned, 0, 1], matrix[turned, 0, 0]))
  for value, low, high in ((scale, *SCALE), (angle, -ANGLE, ANGLE)):
    assert low <= value.min() + 1e-4 and value.max() - 1e-4 <= high
    mean = value.mean() - (low + high) / 2
    assert abs(mean) < 4 * (high - low) / np.sqrt(12 * turned.sum())
  middle = np.stack([top + bottom, left + right], -1) / 2
  np.testing.assert_array_equal(centre[turned], middle[turned])
  assert (offset[turned] == 0).all()
  # shifted by whole pixels to where the box is inside; all places are reached
  down, along = -offset[shifted].T
  assert (down == np.round(down)).all() and (along == np.round(along)).all()
  for low, high, by in ((top, bottom, down), (left, right, along)):
    first, last = low[shifted] + by, high[shifted] + by
    assert first.min() == 0 and last.max() == SIDE - 1
    room = SIDE - 1 - (high - low)[shifted]
    free = room > 0
    # uniform over the room: the mean of first / room is 1/2
    share = first[free] / room[free]
    assert abs(share.mean() - 0.5) < 4 * share.std() / np.sqrt(free.sum())
  # the whole image is mirrored
  np.testing.assert_array_equal(
    matrix[mirrored], np.tile(np.diag([1.0, -1.0]), (mirrored.sum(), 1, 1))
  )
  assert (centre[mirrored] == (SIDE - 1) / 2).all() and (offset[mirrored] == 0).all()


@jax.jit
def pasted(image, mask, matrix, centre, offset):
  return paste_moved(image, mask, jnp.asarray(matrix, float), jnp.asarray(centre, float),
                     jnp.asarray(offset, float))  # fmt: skip


def shifted_by_hand(image, mask, down, along):
  """Pixel by pixel: where the object was or comes to be, the shifted image; else the image."""
  out = image.copy()
  for y in range(SIDE):
    for x in range(SIDE):
      v, u = y - down, x - along
      if 0 <= v < SIDE and 0 <= u < SIDE and (mask[y, x] or mask[v, u]):
        out[y, x] = image[v, u]
  return out


@pytest.mark.parametrize(('down', 'along'), [(0, 0), (3, 0), (-2, 5), (1, -4)])
def test_a_shift_by_hand(down, along):
  images, (masks, _) = oracle.images(20, SIDE), boxes(20, seed=2)
  for image, mask in zip(images, masks):
    got = pasted(image, mask, *IDENTITY[:2], np.array([-down, -along]))
    np.testing.assert_array_equal(got, shifted_by_hand(image, mask, down, along))
  if down == along == 0:
    np.testing.assert_array_equal(got, image)


def test_a_mirror_by_hand():
  middle = np.full(2, (SIDE - 1) / 2)
  for image, mask in zip(oracle.images(20, SIDE), boxes(20, seed=3)[0]):
    got = pasted(image, mask, np.diag([1.0, -1.0]), middle, np.zeros(2))
    both = mask | mask[:, ::-1]
    np.testing.assert_array_equal(got, np.where(both[..., None], image[:, ::-1], image))


def test_turning_and_scaling_in_numbers_of_opencv():
  """Its rotation matrix and bilinear warp, which rounds places to 1/32 of a pixel."""
  cv2 = pytest.importorskip('cv2', reason="needs the extra fast: pip install 'fass-jax[fast]'")
  n, rng = 60, np.random.default_rng(1)
  images, (masks, (top, bottom, left, right)) = oracle.images(2 * n, 32)[n:, :SIDE, :SIDE], boxes(n)
  signed = []
  for i in range(n):
    angle, scale = rng.uniform(-45, 45), rng.uniform(0.8, 1.2)
    cos, sin = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
    middle = np.array([top[i] + bottom[i], left[i] + right[i]]) / 2
    got = pasted(images[i], masks[i], [[cos, sin], [-sin, cos]], middle, np.zeros(2))
    forth = cv2.getRotationMatrix2D(middle[::-1], angle, scale)

    def warp(plane, forth=forth):
      return cv2.warpAffine(plane, forth, (SIDE, SIDE))

    ones = warp(np.ones((SIDE, SIDE), np.float32))
    touched = warp(masks[i].astype(np.float32))
    there = (masks[i] | (touched > 0)) & (ones > 0.99)
    # not where rounding decides: at the border of the image, and at the rim of the object
    sure = ((ones > 0.99) | (ones < 0.01)) & ((touched == 0) | (touched > 0.05))
    want = np.where(there[..., None], warp(images[i]), images[i]).astype(int)
    off = (np.asarray(got).astype(int) - want)[sure]
    assert np.quantile(np.abs(off), 0.98) <= 4 and sure.mean() > 0.5
    signed.append(off[np.abs(off) <= 4].mean())
  assert abs(np.mean(signed)) < 0.1  # it is rounded, not cut off


def test_the_op_changes_its_share_of_each_class():
  """It looks at the image and its own label; what is not drawn stays as it is."""
  n = 3000
  x = jnp.asarray(np.tile(oracle.images(2, SIDE, seed=5)[:1], (n, 1, 1, 1)))
  labels = jnp.arange(n) % 3

  def activation_map(variables, images, labels):
    assert images.shape == (n, SIDE, SIDE, 3)
    # one corner a class, and nothing of class 2
    places = jnp.array([[[1.0, 0], [0, 0]], [[0, 0], [0, 1.0]], [[0, 0], [0, 0]]])
    return variables * places[labels]

  share = jnp.array([0.2, 0.9, 0.0])
  sight = Sight(jnp.float32(2.0), labels, share[labels])
  got = np.asarray(jax.jit(cam(activation_map))(jax.random.key(0), x, sight))
  changed = (got != np.asarray(x)).any(axis=(1, 2, 3))
  for c in (0, 1):
    rate = changed[np.asarray(labels) == c].mean()
    # a shift by nothing leaves an image alone
    assert abs(rate - float(share[c])) < 4 * np.sqrt(0.25 * 3 / n) + 0.02
  assert not changed[np.asarray(labels) == 2].any()
  # what a class is seen in: the corner shows the mirrored image at least, the far one nearly never
  corners = (got[:, [0, -1], [0, -1]] != np.asarray(x)[:, [0, -1], [0, -1]]).any(-1)
  for c in (0, 1):
    own, far = (corners[changed & (np.asarray(labels) == c), i].mean() for i in (c, 1 - c))
    assert own > 0.3 and far < 0.1
  assert got.dtype == np.uint8


def test_its_place_in_the_chain():
  names = list(chain.OPS)
  assert names.index('resized_crop') < names.index('cam') < names.index('crop')
  x = jnp.zeros((2, 8, 8, 3), jnp.uint8)
  with pytest.raises(AssertionError, match='needs a teacher network'):
    chain.build(('cam',))(jax.random.key(0), x, {'cam': Sight(None, None, None)})
