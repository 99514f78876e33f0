"""Crops of squares: pixels against Pillow on photographs, boxes against the law of `decode`."""

import functools
import io
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from fass_jax.augment import chain
from fass_jax.augment.resized_crop import (
  centre_boxes,
  centre_crop,
  random_boxes,
  resized_crop,
  scaled,
)
from fass_jax.data.images import decode

SQUARE = 256


@functools.cache
def photographs():
  """The bytes of two JPEGs of 640 x 427, and one turned upright."""
  found = [pathlib.Path(f).read_bytes() for f in load_sample_images().filenames]
  upright = io.BytesIO()
  Image.open(io.BytesIO(found[0])).transpose(Image.Transpose.ROTATE_90).save(upright, 'PNG')
  return [*found, upright.getvalue()]


@functools.cache
def squares():
  images = np.stack([decode.pillow(b, decode.whole, SQUARE) for b in photographs()])
  sizes = [Image.open(io.BytesIO(b)).size for b in photographs()]
  return images, np.array([w / h for w, h in sizes], np.float32)


# boxes in shares of the sides: left, top, width, height
BOXES = [(0, 0, 1, 1), (0.1, 0.25, 0.5, 0.625), (0.7, 0.05, 0.3, 0.95), (0.331, 0.117, 0.21, 0.3)]


@pytest.mark.parametrize('side', [224, 64, 300])
def test_scaling_is_pillows(side):
  images, _ = squares()
  run = jax.jit(scaled, static_argnums=2)
  for box in BOXES:
    boxes = np.tile(np.float32(box), (len(images), 1))
    got = np.asarray(run(images, boxes, side))
    assert got.dtype == np.uint8 and got.shape == (len(images), side, side, 3)
    left, top, wide, high = (SQUARE * b for b in box)
    for image, ours in zip(images, got):
      want = Image.fromarray(image).resize(
        (side, side), Image.Resampling.BILINEAR, box=(left, top, left + wide, top + high)
      )
      off = np.abs(ours.astype(int) - np.asarray(want))
      # Pillow rounds to bytes between its two passes
      assert off.max() <= 1 and (off > 0).mean() < 0.3


def test_each_image_has_its_own_box_and_the_whole_is_the_identity():
  images, _ = squares()
  boxes = np.float32(BOXES[:3])
  got = np.asarray(scaled(images, boxes, 96))
  for i in range(3):
    np.testing.assert_array_equal(got[i], scaled(images[i : i + 1], boxes[i : i + 1], 96)[0])
  whole = np.tile(np.float32(BOXES[0]), (3, 1))
  np.testing.assert_array_equal(scaled(images, whole, SQUARE), images)


def test_the_centre_is_the_originals():
  images, aspect = squares()
  boxes = np.asarray(centre_boxes(jnp.asarray(aspect), 0.875), float)
  for box, a in zip(boxes, aspect):
    left, top, right, bottom = decode.centre(0.875)(1000 * a, 1000)
    want = (left / (1000 * a), top / 1000, (right - left) / (1000 * a), (bottom - top) / 1000)
    np.testing.assert_allclose(box, want, rtol=1e-5)
  got = np.asarray(centre_crop(0.875, 224)(jnp.asarray(images), jnp.asarray(aspect)))
  for ours, encoded in zip(got, photographs()):
    want = decode.pillow(encoded, decode.centre(0.875), 224).astype(int)
    # squeezed to a square first, so a little blurred; a shift by one pixel would be seen
    off = np.abs(ours.astype(int) - want).mean()
    moved = min(np.abs(np.roll(ours, by, axis).astype(int) - want).mean() for by, axis in
                ((1, 0), (-1, 0), (1, 1), (-1, 1)))  # fmt: skip
    assert off < 4 and off < 0.6 * moved, (off, moved)


N = 20000


@functools.cache
def drawn(aspect, area):
  draw = jax.jit(functools.partial(random_boxes, area=area))
  return np.asarray(draw(jax.random.key(1), jnp.full(N, aspect, jnp.float32)), float)


@functools.cache
def drawn_by_numpy(width, height, area):
  """The same law from `decode.random_box`, in shares of the sides; pixels so small that they are
  no part of it."""
  box = decode.random_box(np.random.default_rng(0), area)
  left, top, right, bottom = np.array([box(width, height) for _ in range(4000)]).T
  return np.stack([left / width, top / height, (right - left) / width, (bottom - top) / height], 1)


@pytest.mark.parametrize(
  ('width', 'height', 'area'),
  [
    (6000, 6000, (0.08, 1.0)),
    (9000, 6000, (0.08, 1.0)),
    (6000, 12000, (0.2, 1.0)),
    (24000, 4000, (0.5, 1.0)),  # nothing fits: the largest box in the middle
  ],
)
def test_boxes_have_the_law_of_decode(width, height, area):
  ours, theirs = drawn(width / height, area), drawn_by_numpy(width, height, area)
  assert ours.min() >= 0 and (ours[:, :2] + ours[:, 2:]).max() <= 1 + 1e-6
  for name, function in (
    ('share', lambda b: b[:, 2] * b[:, 3]),
    ('ratio', lambda b: np.log(b[:, 2] / b[:, 3])),
    ('left', lambda b: b[:, 0]),
    ('top', lambda b: b[:, 1]),
    ('middle', lambda b: b[:, 0] + b[:, 2] / 2),
  ):
    a, b = function(ours), function(theirs)
    # 2e-4: a pixel of theirs
    sd = max(a.std(), b.std())
    assert abs(a.mean() - b.mean()) < 2e-4 + 5 * sd * (1 / N + 1 / len(b)) ** 0.5, name
    for q in (0.1, 0.25, 0.5, 0.75, 0.9):
      assert abs(np.quantile(a, q) - np.quantile(b, q)) < 2e-4 + 0.12 * sd, (name, q)


def test_ratios_are_those_of_the_original():
  box = drawn(1.5, (0.08, 1.0))
  ratio = 1.5 * box[:, 2] / box[:, 3]
  assert 0.75 - 1e-4 < ratio.min() < 0.755 and 1.328 < ratio.max() < 4 / 3 + 1e-4
  (wide,) = {tuple(b) for b in np.round(drawn(6.0, (0.5, 1.0)), 5)}
  # width 6, height 1: the box of 4/3 x 1 in the middle
  np.testing.assert_allclose(wide, ((1 - 4 / 18) / 2, 0, 4 / 18, 1), atol=2e-5)


def test_in_a_chain_the_aspect_is_its_strength():
  images, aspect = squares()
  key = jax.random.key(3)
  made = {'resized_crop': resized_crop((0.5, 1.0), 96)}
  run = chain.build(('flip', 'resized_crop'), made)
  got = np.asarray(run(key, images, {'resized_crop': aspect}))
  assert got.shape == (3, 96, 96, 3) and got.dtype == np.uint8
  # without a value of its own: the images' side, and squares that were squares
  plain = np.asarray(chain.build(('resized_crop',))(key, images, {}))
  assert plain.shape == images.shape and (plain != images).mean() > 0.5
  own = jax.random.fold_in(key, chain.zlib.crc32(b'resized_crop') & 0x7FFFFFFF)
  cropped = made['resized_crop'](own, images, aspect)
  flipped = (got[:, :, ::-1] == cropped).all((1, 2, 3)) | (got == cropped).all((1, 2, 3))
  assert flipped.all()
