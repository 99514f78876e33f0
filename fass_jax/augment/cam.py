"""CAM-based sampling: new images of a class, by moving what a trained network sees it in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from fass_jax.types import Array, PyTree

BELOW_MEAN = 3 / 4  # foreground from this share of the mean activation on
ANGLE = 45.0  # degrees, either way
SCALE = (0.8, 1.2)
TOUCH = 1e-3  # a pixel belongs to the moved foreground from this weight on
# (variables, images uint8 [B, H, W, 3], labels [B]) -> class activation [B, h, w]
ActivationMap = Callable[[PyTree, Array, Array], Array]


class Sight(NamedTuple):
  """What the op `cam` asks for."""

  variables: PyTree  # of the network that looks
  labels: Array  # int32 [B]
  share: Array  # float32 [B], the probability that an image is a new one


def generated_share(count: Array) -> Array:
  """Returns the share of new images that balances the classes: 1 - n_c / (n_max + n_min).

  So many of the n_max + n_min images that each class has when n_max + n_min - n_c new ones of class
  c have been added to its own.

  Args:
    count: integer `[C]`, training images of each class.

  Returns:
    float32 `[C]`, above 0.

  Reference: Zhang, Wei, Zhou, Wu, AAAI 2021.
  """
  return 1.0 - count / (count.max() + count.min())


def foreground(activation: Array, height: int, width: int) -> Array:
  """Returns where the activation, enlarged to the image, is at least 3/4 of its mean.

  The mean is of the activation above its smallest value.

  Args:
    activation: float `[B, h, w]`, in any unit.
    height: H of the image.
    width: W of the image.

  Returns:
    bool `[B, H, W]`, at least one pixel of each image.

  Reference: Zhang, Wei, Zhou, Wu, AAAI 2021.
  """
  above = activation - activation.min(axis=(1, 2), keepdims=True)
  above = jax.image.resize(above, (above.shape[0], height, width), 'linear')
  return above >= BELOW_MEAN * above.mean(axis=(1, 2), keepdims=True)


def _extent(covered: Array) -> tuple[Array, Array]:
  """Returns the first and the last place of bool `[B, S]` that is covered, int32 `[B]`."""
  first, last = jnp.argmax(covered, axis=1), jnp.argmax(covered[:, ::-1], axis=1)
  return first, covered.shape[1] - 1 - last


def draw_moves(key: Array, mask: Array) -> tuple[Array, Array, Array]:
  """Draws how each foreground is moved: one of three ways, all alike.

  It is turned by -45 .. 45 degrees and scaled by .8 .. 1.2 about the middle of its box, or shifted
  to a place where its box is inside the image, or mirrored with the image.

  Args:
    key: a key.
    mask: bool `[B, H, W]`, the foreground.

  Returns:
    A float `[B, 2, 2]`, c `[B, 2]` and o `[B, 2]`, in (row, column): a pixel p of the moved image
    is read at A (p - c) + c + o.
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
  """Pastes the moved foreground on its image; the place that it left shows the moved image too.

  Args:
    image: uint8 `[H, W, 3]`.
    mask: bool `[H, W]`, the foreground.
    matrix: as of `draw_moves`, `[2, 2]`.
    centre: `[2]`.
    offset: `[2]`.

  Returns:
    uint8 `[H, W, 3]`, read with bilinear weights. What would be read beyond the border stays.
  """
  height, width = mask.shape
  p = jnp.stack(jnp.mgrid[:height, :width]).reshape(2, -1) - centre[:, None]
  # products in full: a GPU would round the places in TF32
  read = jnp.matmul(matrix, p, precision='highest') + (centre + offset)[:, None]
  planes = jnp.concatenate([image, 255 * mask[..., None]], axis=-1).astype(read.dtype)

  def bilinear(plane: Array) -> Array:
    return map_coordinates(plane, list(read), order=1)

  moved = jax.vmap(bilinear, in_axes=-1, out_axes=-1)(planes).reshape(height, width, 4)
  inside = (read >= 0) & (read <= jnp.array([[height - 1], [width - 1]]))
  there = (mask | (moved[..., 3] > 255 * TOUCH)) & inside.all(axis=0).reshape(height, width)
  return jnp.where(there[..., None], jnp.round(moved[..., :3]).astype(image.dtype), image)


def cam(activation_map: ActivationMap | None = None) -> Callable[[Array, Array, Any], Array]:
  """Returns the op that turns some images into new ones of their class.

  A share of them, by class (`generated_share`), has its foreground moved (`draw_moves`) and pasted
  (`paste_moved`). Drawn from class-balanced images it is as drawing from a set in which every class
  has n_max + n_min images, each new one made anew at every draw.

  Args:
    look: the class activation of images, `(variables, images, labels) -> [B, h, w]`.

  Returns:
    `(key, images uint8 [B, H, W, 3], Sight) -> images`.

  Reference: Zhang, Wei, Zhou, Wu, AAAI 2021.
  """

  def op(key: Array, images: Array, strength: Sight) -> Array:
    assert activation_map is not None, 'the recipe was built without its teacher'
    chance, moves = jax.random.split(key)
    _, height, width, _ = images.shape
    mask = foreground(activation_map(strength.variables, images, strength.labels), height, width)
    new = jax.vmap(paste_moved)(images, mask, *draw_moves(moves, mask))
    taken = jax.random.bernoulli(chance, strength.share)
    return jnp.where(taken[:, None, None, None], new, images)

  return op
