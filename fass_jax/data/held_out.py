"""Images held out from training, for choosing hyper-parameters without the test set.

An example is the tau of a test-time classifier. A choice on the test set biases the result, and on
training images every choice looks good.
"""

from __future__ import annotations

import math

import numpy as np

from fass_jax.data import numbers
from fass_jax.data.images.encoded import Part
from fass_jax.types import Dataset, Pictures, Squares, UserError


def held_positions(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
  """Returns the positions of the held-out images: ceil(share * n) of the n images per class.

  At least one image per class remains for training. Each class has its own random order from the
  seed. A larger share therefore holds out a superset, independent of the other classes.

  Args:
    labels: int `[N]`.
    share: in [0, 1).
    seed: 0 or more.

  Returns:
    int64 `[H]`, sorted.

  Raises:
    UserError: if the share is outside [0, 1).
  """
  if not 0 <= share < 1:
    raise UserError(
      f'--config.data.held_out={share:g} is not in [0, 1): it is the share of images per class '
      'that is held out from training.'
    )
  held = [np.zeros(0, np.int64)]
  for c in np.unique(labels):
    mine = np.flatnonzero(labels == c)
    # round first: 0.07 * 100 is slightly above 7, and its ceil would be 8
    count = min(math.ceil(round(share * len(mine), 9)), len(mine) - 1)
    held.append(np.random.default_rng((seed, int(c))).permutation(mine)[:count])
  return np.sort(np.concatenate(held))


def hold_out(data: Dataset, share: float, seed: int) -> Dataset:
  """Moves a share of the training images per class to the held-out images.

  Args:
    data: a data set without held-out images; all images of auxiliary classes are for training.
    share: in [0, 1); 0 returns the data set unchanged.
    seed: see `held_positions`.

  Raises:
    UserError: if the share is outside [0, 1), or every class has only one image.
  """
  if data.train_values is None:
    tested = np.flatnonzero(data.train_labels < data.num_tested)
    held = tested[held_positions(data.train_labels[tested], share, seed)]
  else:  # bins have no order to keep: at random
    held = numbers.split(len(data.train_values), share, seed)[1]
  if not share:
    return data
  if not len(held):
    raise UserError(
      f'--config.data.held_out={share:g} holds out no image, because every class has only one; '
      'set it to 0.'
    )
  rest = np.setdiff1d(np.arange(len(data.train_labels)), held)
  return data._replace(
    train_images=chosen(data.train_images, rest),
    train_labels=data.train_labels[rest],
    train_index=data.train_index[rest],
    held_images=chosen(data.train_images, held),
    held_labels=data.train_labels[held],
    train_values=None if data.train_values is None else data.train_values[rest],
    held_values=None if data.train_values is None else data.train_values[held],
  )


def chosen(
  images: np.ndarray | Squares | Pictures, index: np.ndarray
) -> np.ndarray | Squares | Pictures:
  """Returns the images at some positions."""
  if isinstance(images, np.ndarray):
    return images[index]
  if isinstance(images, Squares):
    return Squares(images.images[index], images.aspect[index])
  return Part(images, index)
