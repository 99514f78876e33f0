"""Images of unknown classes, which a classifier should reject: classes set aside, or a folder."""

from __future__ import annotations

import pathlib

import numpy as np
from ml_collections import ConfigDict

from fass_jax.data.held_out import chosen
from fass_jax.data.images.encoded import Paths
from fass_jax.data.sets.folder import find_images
from fass_jax.types import Dataset, UserError


def with_unknown(config: ConfigDict, data: Dataset) -> Dataset:
  """Returns the data set with the open set that a config asks for, if it asks for one.

  Raises:
    UserError: if both kinds are asked for, or the one that is cannot be made.
  """
  d = config.data
  if d.open and d.open_classes:
    raise UserError(
      f'--config.data.open={d.open} and --config.data.open_classes={d.open_classes} both give '
      'images of unknown classes; drop one of them.'
    )
  if d.open_classes and data.auxiliary:
    raise UserError(
      f'--config.data.open_classes={d.open_classes} cannot set classes aside beside auxiliary '
      'classes; give a folder, --config.data.open=DIR.'
    )
  if d.open_classes:
    data = set_apart(data, d.open_classes)
  elif d.open:
    data = from_folder(data, d.open)
  return data


def unknown_classes(num_classes: int, n: int) -> np.ndarray:
  """Returns the labels of n classes to set aside: every floor(C / n)-th in the order of labels.

  Raises:
    UserError: unless n < C / 2.
  """
  if not 0 < n < num_classes / 2:
    raise UserError(
      f'--config.data.open_classes={n} must be above 0 and below half of the {num_classes} classes.'
    )
  return np.arange(1, n + 1) * (num_classes // n) - 1


def set_apart(data: Dataset, n: int) -> Dataset:
  """Returns the data set without n of its classes, whose test images are the open set.

  The other classes are numbered anew, in their order.

  Raises:
    UserError: see `unknown_classes`; or if the set has no test image of these classes.
  """
  out = unknown_classes(len(data.class_names), n)
  known = np.setdiff1d(np.arange(len(data.class_names)), out)
  number = np.full(len(data.class_names), -1, np.int32)
  number[known] = np.arange(len(known))
  train, test = (np.flatnonzero(number[y] >= 0) for y in (data.train_labels, data.test_labels))
  unknown = np.flatnonzero(number[data.test_labels] < 0)
  if not len(unknown):
    raise UserError(
      f'{data.name} has no test image of the {n} classes that --config.data.open_classes sets '
      'aside; choose another number.'
    )
  return data._replace(
    train_images=chosen(data.train_images, train),
    train_labels=number[data.train_labels[train]],
    train_index=data.train_index[train],
    test_images=chosen(data.test_images, test),  # type: ignore[arg-type]  # never squares here
    test_labels=number[data.test_labels[test]],
    class_names=tuple(data.class_names[c] for c in known),
    open_images=chosen(data.test_images, unknown),  # type: ignore[arg-type]
  )


def from_folder(data: Dataset, place: str) -> Dataset:
  """Returns the data set with all images below a folder as its open set.

  Raises:
    UserError: if the folder does not exist, has no image, or has a folder with the name of a class.
  """
  top = pathlib.Path(place).expanduser()
  if data.is_rows:
    raise UserError(
      f'--config.data.open={place} names images, but the examples of {data.name} are rows; use '
      '--config.data.open_classes.'
    )
  if not top.is_dir():
    raise UserError(f'--config.data.open={place} is no folder; give a folder of images.')
  paths = find_images(top)
  if not paths:
    raise UserError(f'--config.data.open={place} has no image; give a folder of images.')
  folders = {part for path in paths for part in pathlib.Path(path).relative_to(top).parts[:-1]}
  shared = sorted(folders & set(data.class_names))
  if shared:
    raise UserError(
      f"--config.data.open={place} has a folder '{shared[0]}', which is a class of the training "
      'set; take it out, since the images must belong to no class.'
    )
  return data._replace(open_images=Paths(tuple(paths), upright=True))


def check_threshold(config: ConfigDict, data: Dataset) -> None:
  """Refuses an open set without a threshold for rejecting.

  Raises:
    UserError: if no threshold is given and no image is held out to choose it on.
  """
  if data.open_images is not None and not config.eval.threshold and data.held_labels is None:
    raise UserError(
      'The open set needs a threshold, which is chosen on held-out images; set '
      '--config.data.held_out=0.1, or give a number, --config.eval.threshold=0.5.'
    )
