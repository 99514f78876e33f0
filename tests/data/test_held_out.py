"""The held-out part of a training set: which images, and for every kind of image store."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fass_jax.data.held_out import held_positions, hold_out
from fass_jax.data.images.encoded import Paths
from fass_jax.data.load import load
from fass_jax.types import Dataset, Squares, UserError
from tests import runs

LABELS = np.repeat(np.arange(4), (20, 11, 2, 1))


@settings(max_examples=40, deadline=None)
@given(
  st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(0.01, 0.99), st.integers(0, 9)
)
def test_every_class_gives_its_share_and_keeps_one(counts, share, seed):
  labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
  held = held_positions(labels, share, seed)
  assert len(np.unique(held)) == len(held)
  got = np.bincount(labels[held], minlength=len(counts))
  for n, h in zip(counts, got):
    assert h == 0 if n == 1 else 1 <= h <= n - 1
    assert h == n - 1 or share * n - 1e-6 <= h < share * n + 1
  more = held_positions(labels, min(0.99, share + 0.2), seed)
  assert set(held) <= set(more)


def test_the_choice_by_hand():
  held = held_positions(LABELS, 0.1, 0)
  np.testing.assert_array_equal(np.bincount(LABELS[held], minlength=4), [2, 2, 1, 0])
  assert (held_positions(LABELS, 0.1, 1) != held).any()
  # a class does not depend on the others
  np.testing.assert_array_equal(held[held < 20], held_positions(LABELS[:20], 0.1, 0))
  # .07 * 100 is 7.000000000000001
  assert len(held_positions(np.zeros(100, int), 0.07, 0)) == 7


@pytest.mark.parametrize('kind', ['array', 'squares', 'encoded'])
def test_images_labels_and_index_stay_together(kind, tmp_path):
  n = len(LABELS)
  pixels = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
  for i in range(n):
    (tmp_path / str(i)).write_bytes(bytes([i]))
  images = {
    'array': pixels,
    'squares': Squares(pixels, np.arange(n, dtype=np.float32)),
    'encoded': Paths([str(tmp_path / str(i)) for i in range(n)], upright=True),
  }[kind]
  whole = Dataset('x', images, LABELS, 100 + np.arange(n), pixels, LABELS, tuple('abcd'), side=2)
  data = hold_out(whole, 0.3, 0)

  def numbers(images):
    if kind == 'encoded':
      assert images.upright and images.name(0) == str(tmp_path / str(images[0][0]))
      return np.array([images[i][0] for i in range(len(images))])
    return images[:, 0, 0, 0] if kind == 'array' else images.aspect.astype(int)

  rest, held = numbers(data.train_images), numbers(data.held_images)
  assert sorted([*rest, *held]) == list(range(n)) and len(held) == 6 + 4 + 1
  np.testing.assert_array_equal(data.train_labels, LABELS[rest])
  np.testing.assert_array_equal(data.held_labels, LABELS[held])
  np.testing.assert_array_equal(data.train_index, 100 + rest)
  assert data.test_images is pixels


def test_nothing_is_held_out_by_default_and_digits_lose_a_tenth():
  assert load(runs.config_of()).held_labels is None
  data = load(runs.config_of('--config.data.held_out=0.1', '--config.data.image_size=9'))
  counts = np.bincount(load(runs.config_of()).train_labels)
  np.testing.assert_array_equal(np.bincount(data.held_labels), np.ceil(counts / 10))
  np.testing.assert_array_equal(np.bincount(data.train_labels), counts - np.ceil(counts / 10))
  assert data.held_images.shape[1:] == data.train_images.shape[1:] == (9, 9, 3)


def test_what_cannot_be_held_out():
  for share in (-0.1, 1.0, float('nan')):
    with pytest.raises(UserError, match=r'held_out=.* is not in \[0, 1\)'):
      load(runs.config_of(f'--config.data.held_out={share}'))
  alone = Dataset('x', np.zeros((2, 1, 1, 3)), np.arange(2), np.arange(2), None, None, ('a', 'b'))
  with pytest.raises(UserError, match='every class has only one'):
    hold_out(alone, 0.1, 0)
