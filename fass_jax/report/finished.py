"""A finished run's data, and passes of its network over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fass_jax.data.load import load
from fass_jax.data.store import Placed, place
from fass_jax.engine import devices, passes
from fass_jax.recipe import images as images_
from fass_jax.report.judge import Images, Material, held_of, unknown_of
from fass_jax.types import Dataset, Placement, UserError
from fass_jax.workdir.open import FinishedRun


def load_data(run: FinishedRun, config: ConfigDict) -> Dataset:
  """Loads the data of a run; encoded images are not decoded yet.

  Args:
    run: for its classes.
    config: says where they are.

  Raises:
    UserError: if the training set is not the one that the run saw.
  """
  data = load(config)
  now, then = data.counts.tolist(), [*zip(run.classes, run.counts), *run.auxiliary]
  same = (list(zip(data.class_names, now)), data.auxiliary) == (then, len(run.auxiliary))
  columns = [[c.name, list(c.words)] for c in data.columns] == run.preparation.get('columns', [])
  if not same or not columns:
    raise UserError(
      f'The training set is not the one that the run saw: {sum(n for _, n in then)} {data.noun} of '
      f'{len(then)} classes then, {sum(now)} of {len(now)} now'
      f'{"" if columns else " with other columns or words"}; bring the old one back, or say where '
      'it is by --config.data.dir, --config.data.root or --config.data.file.'
    )
  return data


def place_data(config: ConfigDict, data: Dataset, train: bool) -> Placed:
  """Decodes the data, or opens readers for them, see `data.store.place`.

  Args:
    config: of the run.
    data: what will be passed, a result of `load_data` or a part of it.
    train: whether the training images will be passed; if not, none is decoded.
  """
  if not train:
    with config.unlocked():
      config.data.store = 'stream'
  return place(config, data)


def material_of(
  run: FinishedRun, config: ConfigDict, kept: Placed, where: Placement, train: bool
) -> Material:
  """Returns what a classifier meets: the passes over the run's data as the run made them."""
  data, e = kept.data, config.eval
  eye = passes.Eye(
    run.net,
    images_.normaliser_of(run.preparation),
    images_.build_show(config, data),
    where,
  )

  def on_devices(images: Any, labels: np.ndarray) -> Images:
    return images, devices.copy(np.int32(labels), where)

  own = None
  if train:
    images = kept.train or devices.copy(data.train_images, where)
    own = on_devices(images, data.train_labels)
  return Material(
    run.net,
    data.image_shape,
    passes.make_fold(eye, e.batch_size, lambda outs: outs, config.data.centre, data.num_tested),
    own,
    held_of(kept, where),
    on_devices(kept.test or devices.copy(data.test_images, where), data.test_labels),
    data.num_tested,
    e.ece_bins,
    unknown_of(kept, where),
  )
