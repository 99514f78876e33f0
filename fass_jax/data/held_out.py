"""Training images that are held out from training, for what has to be chosen without the test set.

The strength of a test-time classifier is such a choice: made on the test set it flatters the
result, made on images that were trained on it means nothing.
"""

from __future__ import annotations

import math

import numpy as np

from fass_jax.data.images.encoded import Part
from fass_jax.types import Dataset, Pictures, Squares, UserError


def held_positions(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
  """Returns the positions that are held out: ceil(share * n) of the n images of each class.

  A class keeps at least one image to train on, so one of a single image holds out none. Each
  class has a random order of its own, from the seed: a larger share holds out the same images and
  more, whatever the other classes have.

  Args:
    labels: int `[N]`.
    share: in [0, 1).
    seed: 0 or more.

  Returns:
    int64, sorted.

  Raises:
    UserError: for a share outside [0, 1).
  """
  if not 0 <= share < 1:
    raise UserError(
      f'--config.data.held_out={share:g} is not in [0, 1): it is the share of each class that is '
      'not trained on.'
    )
  held = [np.zeros(0, np.int64)]
  for c in np.unique(labels):
    mine = np.flatnonzero(labels == c)
    # a share such as .07 of 100 is not 8 because of its last binary digit
    count = min(math.ceil(round(share * len(mine), 9)), len(mine) - 1)
    held.append(np.random.default_rng((seed, int(c))).permutation(mine)[:count])
  return np.sort(np.concatenate(held))


def hold_out(data: Dataset, share: float, seed: int) -> Dataset:
  """Moves a share of each class of the training set to the held-out part.

  Args:
    data: without a held-out part.
    share: in [0, 1); 0 returns the data set as it is.
    seed: of `held_positions`.

  Raises:
    UserError: for a share outside [0, 1), or if no class has an image to spare.
  """
  held = held_positions(data.train_labels, share, seed)
  if not share:
    return data
  if not len(held):
    raise UserError(
      f'--config.data.held_out={share:g} holds out no image, because every class has one; set it '
      'to 0.'
    )
  rest = np.setdiff1d(np.arange(len(data.train_labels)), held)
  return data._replace(
    train_images=_chosen(data.train_images, rest),
    train_labels=data.train_labels[rest],
    train_index=data.train_index[rest],
    held_images=_chosen(data.train_images, held),
    held_labels=data.train_labels[held],
  )


def _chosen(
  images: np.ndarray | Squares | Pictures, index: np.ndarray
) -> np.ndarray | Squares | Pictures:
  if isinstance(images, np.ndarray):
    return images[index]
  if isinstance(images, Squares):
    return Squares(images.images[index], images.aspect[index])
  return Part(images, index)
