"""CAM-based sampling: makes new images of a class by moving the class's foreground."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from fass_jax.types import Array, PyTree

BELOW_MEAN = 3 / 4  # foreground: activation of at least this share of the mean
ANGLE = 45.0  # degrees, largest rotation in either direction
SCALE = (0.8, 1.2)
TOUCH = 1e-3  # moved foreground: pixels with more than this share of foreground
# (variables, images uint8 [B, H, W, 3], labels [B]) -> class activation [B, h, w]
ActivationMap = Callable[[PyTree, Array, Array], Array]


class Sight(NamedTuple):
  """The inputs of the op `cam`."""

  variables: PyTree  # of the network that computes the activation maps
  labels: Array  # int32 [B]
  share: Array  # float32 [B], the probability that an image is replaced by a new one


def generated_share(count: Array) -> Array:
  """Returns 1 - n_c / (n_max + n_min), the share of new images per class that balances the classes.

  With n_max + n_min - n_c new images added to class c, every class has n_max + n_min images; the
  result is the share of the new ones.

  Args:
    count: integer `[C]`, n, training images per class.

  Returns:
    float32 `[C]`, above 0.

  Reference: Zhang et al., Bag of Tricks for Long-Tailed Visual Recognition with Deep Convolutional
  Neural Networks, AAAI 2021.
  """
  return 1.0 - count / (count.max() + count.min())


def foreground(activation: Array, height: int, width: int) -> Array:
  """Returns the foreground: pixels with an activation of at least 3/4 of the mean activation.

  The minimum of the activation is subtracted first, and the map is resized to the image.

  Args:
    activation: float `[B, h, w]`, in any unit.
    height: H, pixels of the image.
    width: W, pixels of the image.

  Returns:
    bool `[B, H, W]`, with at least one foreground pixel per image.

  Reference: Zhang et al., Bag of Tricks for Long-Tailed Visual Recognition with Deep Convolutional
  Neural Networks, AAAI 2021.
  """
  above = activation - activation.min(axis=(1, 2), keepdims=True)
  above = jax.image.resize(above, (above.shape[0], height, width), 'linear')
  return above >= BELOW_MEAN * above.mean(axis=(1, 2), keepdims=True)


def _extent(covered: Array) -> tuple[Array, Array]:
  """Returns the first and the last True position of bool `[B, S]`, each int32 `[B]`."""
  first, last = jnp.argmax(covered, axis=1), jnp.argmax(covered[:, ::-1], axis=1)
  return first, covered.shape[1] - 1 - last


def draw_moves(key: Array, mask: Array) -> tuple[Array, Array, Array]:
  """Draws a transform of the foreground per image, one of three with equal probability.

  The transforms are: a rotation by -45 .. 45 degrees with a scale of 0.8 .. 1.2 about the centre of
  the foreground's box; a shift that leaves the box inside the image; a horizontal mirror image.

  Args:
    key: a PRNG key.
    mask: bool `[B, H, W]`, the foreground.

  Returns:
    float A `[B, 2, 2]`, c `[B, 2]` and o `[B, 2]`, in (row, column) order: pixel p of the moved
    image is the original at A (p - c) + c + o.
  """
  kinds, turns, scales, ys, xs = jax.random.split(key, 5)
  batch, height, width = mask.shape
  (top, bottom), (left, right) = _extent(mask.any(axis=2)), _extent(mask.any(axis=1))
  angle = jnp.deg2rad(jax.random.uniform(turns, (batch,), minval=-ANGLE, maxval=ANGLE))
  scale = jax.random.uniform(scales, (batch,), minval=SCALE[0], maxval=SCALE[1])
  cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
  one, zero = jnp.ones_like(cos), jnp.zeros_like(cos)
  down = jax.random.randint(ys, (batch,), -top, height - bottom)
  along = jax.random.randint(xs, (batch,), -left, width - right)

  def rows(*four: Array) -> Array:
    return jnp.stack(four, axis=-1).reshape(batch, 2, 2)

  kind = jax.random.randint(kinds, (batch,), 0, 3)
  ways = jnp.stack(
    [rows(cos, sin, -sin, cos), rows(one, zero, zero, one), rows(one, zero, zero, -one)]
  )
  still = jnp.zeros((batch, 2))
  box = jnp.stack([top + bottom, left + right], axis=-1) / 2
  middle = jnp.broadcast_to(jnp.array([height - 1, width - 1]) / 2, (batch, 2))
  every = jnp.arange(batch)
  return (
    ways[kind, every],
    jnp.stack([box, still, middle])[kind, every],
    jnp.stack([still, -jnp.stack([down, along], axis=-1).astype(still.dtype), still])[kind, every],
  )


def paste_moved(image: Array, mask: Array, matrix: Array, centre: Array, offset: Array) -> Array:
  """Pastes the moved foreground on its image.

  The result shows the moved image on the moved and on the original foreground, and the original
  image elsewhere.

  Args:
    image: uint8 `[H, W, 3]`.
    mask: bool `[H, W]`, the foreground.
    matrix: `[2, 2]`, A of `draw_moves`.
    centre: `[2]`, c of `draw_moves`.
    offset: `[2]`, o of `draw_moves`.

  Returns:
    uint8 `[H, W, 3]`, bilinear. Pixels with a source outside the image are unchanged.
  """
  height, width = mask.shape
  p = jnp.stack(jnp.mgrid[:height, :width]).reshape(2, -1) - centre[:, None]
  # full precision: TF32 on GPUs would round the positions
  read = jnp.matmul(matrix, p, precision='highest') + (centre + offset)[:, None]
  planes = jnp.concatenate([image, 255 * mask[..., None]], axis=-1).astype(read.dtype)

  def bilinear(plane: Array) -> Array:
    return map_coordinates(plane, list(read), order=1)

  moved = jax.vmap(bilinear, in_axes=-1, out_axes=-1)(planes).reshape(height, width, 4)
  inside = (read >= 0) & (read <= jnp.array([[height - 1], [width - 1]]))
  there = (mask | (moved[..., 3] > 255 * TOUCH)) & inside.all(axis=0).reshape(height, width)
  return jnp.where(there[..., None], jnp.round(moved[..., :3]).astype(image.dtype), image)


def cam(activation_map: ActivationMap | None = None) -> Callable[[Array, Array, Any], Array]:
  """Returns the op that replaces some images by new images of their class.

  An image is replaced with a probability that depends on its class (`generated_share`). The new
  image is the old one with its foreground moved (`draw_moves`, `paste_moved`). Together with
  class-balanced sampling, this draws from a set with n_max + n_min images per class, with new
  images drawn again each time.

  Args:
    activation_map: the class activation, `(variables, images, labels) -> [B, h, w]`.

  Returns:
    `(key, images uint8 [B, H, W, 3], Sight) -> images`.

  Reference: Zhang et al., Bag of Tricks for Long-Tailed Visual Recognition with Deep Convolutional
  Neural Networks, AAAI 2021.
  """

  def op(key: Array, images: Array, strength: Sight) -> Array:
    assert activation_map is not None, 'the op cam needs a teacher network'
    chance, moves = jax.random.split(key)
    _, height, width, _ = images.shape
    mask = foreground(activation_map(strength.variables, images, strength.labels), height, width)
    new = jax.vmap(paste_moved)(images, mask, *draw_moves(moves, mask))
    taken = jax.random.bernoulli(chance, strength.share)
    return jnp.where(taken[:, None, None, None], new, images)

  return op
