"""Loads data sets by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from fass_jax.config.lookup import did_you_mean
from fass_jax.data import auxiliary
from fass_jax.data.held_out import hold_out
from fass_jax.data.sets.cifar import load_cifar
from fass_jax.data.sets.digits import load_digits
from fass_jax.types import Dataset, UserError


def _digits(config: ConfigDict) -> Dataset:
  return load_digits(config.imb_factor, config.data.profile, config.data.subset_seed)


def _cifar(base: int):
  def load(config: ConfigDict) -> Dataset:
    d = config.data
    return load_cifar(
      base,
      imb_factor=config.imb_factor,
      profile=d.profile,
      subset_seed=d.subset_seed,
      dir=d.dir,
      cache=d.cache,
      url=d.url,
      sha256=d.sha256,
    )

  return load


def _listed(kind: str):
  def load(config: ConfigDict) -> Dataset:
    from fass_jax.data.sets.imagenet_lt import load_listed  # late: arrays need no decoder

    return load_listed(kind, config)

  return load


def _folder(config: ConfigDict) -> Dataset:
  if config.task == 'regression':
    from fass_jax.data.sets.images_numbers import load_numbers  # late, as above

    return load_numbers(config)
  from fass_jax.data.sets.folder import load_folder

  return load_folder(config)


def _table(config: ConfigDict) -> Dataset:
  from fass_jax.data.sets import table_classes, table_numbers  # late: only tables need it

  numbers = config.task == 'regression'
  return (table_numbers.load_numbers if numbers else table_classes.load_table)(config)


def _numbers(name: str):
  def load(config: ConfigDict) -> Dataset:
    from fass_jax.data.sets import table_numbers  # late, as above

    return getattr(table_numbers, f'load_{name}')(config)

  return load


def _agedb(config: ConfigDict) -> Dataset:
  from fass_jax.data.sets.images_numbers import load_agedb  # late, as above

  return load_agedb(config)


DATASETS: dict[str, Callable[[ConfigDict], Dataset]] = {
  'digits_lt': _digits,
  'cifar10_lt': _cifar(10),
  'cifar100_lt': _cifar(100),
  'imagenet_lt': _listed('imagenet_lt'),
  'places_lt': _listed('places_lt'),
  'inat18': _listed('inat18'),
  'folder': _folder,
  'table': _table,
  'diabetes': _numbers('diabetes'),
  'abalone': _numbers('abalone'),
  'agedb': _agedb,
}


def resize(images: np.ndarray, size: int) -> np.ndarray:
  """Scales uint8 images `[N, H, W, 3]` to `[N, size, size, 3]` (Pillow, bilinear)."""
  from PIL import Image  # only here: a run at the stored size starts without it

  out = np.empty((len(images), size, size, 3), np.uint8)
  for i, image in enumerate(images):
    out[i] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
  return out


def check(data: Dataset) -> Dataset:
  """Returns the data set after checking its labels.

  Raises:
    UserError: if a label is out of range, or a class has no training image.
  """
  for split, labels, num_classes in (
    ('training', data.train_labels, len(data.class_names)),
    ('test', data.test_labels, data.num_tested),
  ):
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
      wrong = int(labels.min() if labels.min() < 0 else labels.max())
      raise UserError(
        f'{data.name}: the {split} set has label {wrong}, but labels go from 0 to '
        f'{num_classes - 1}; correct the label files.'
      )
  empty = np.flatnonzero(data.counts == 0)
  if len(empty) and data.train_values is None:  # bins of a number may be empty
    raise UserError(
      f"{data.name}: class {empty[0]} ('{data.class_names[empty[0]]}') has no training "
      f'{data.noun[:-1]}; lower --config.imb_factor, or remove the class.'
    )
  return data


def load(config: ConfigDict) -> Dataset:
  """Loads the data set of a config and holds out images from training.

  Raises:
    UserError: if the name is unknown or the data are missing, incomplete or damaged.
  """
  kind = config.data.kind
  if kind not in DATASETS:
    raise UserError(f"There is no data set '{kind}'{did_you_mean(kind, DATASETS)}")
  size = config.data.image_size
  if size < 0:
    raise UserError(f'--config.data.image_size={size} is negative; 0 means the stored size.')
  data = check(auxiliary.load(config, DATASETS[kind]))
  arrays = data.train_images, data.test_images
  if size and data.is_rows:
    raise UserError(
      f'--config.data.image_size={size} has no effect on {data.name}, whose examples are rows of '
      'numbers; set it to 0.'
    )
  if size and all(isinstance(x, np.ndarray) and size != x.shape[1] for x in arrays):
    train, test = (resize(np.asarray(images), size) for images in arrays)
    data = data._replace(train_images=train, test_images=test)
  # encoded images are resized when they are decoded
  if config.data.open or config.data.open_classes:
    from fass_jax.data import open_set  # late: it reads folders

    data = open_set.with_unknown(config, data)
    data = hold_out(data, config.data.held_out, config.data.subset_seed)
    open_set.check_threshold(config, data)
    return data
  return hold_out(data, config.data.held_out, config.data.subset_seed)
