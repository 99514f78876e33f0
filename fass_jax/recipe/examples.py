"""From a config to what a run trains on: its data or features of them, as they are or resampled."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fass_jax import nets
from fass_jax.nets import paths
from fass_jax.recipe.text import named
from fass_jax.sampling import resamplers
from fass_jax.sampling.resamplers import RESAMPLERS
from fass_jax.types import Dataset, UserError


class TrainingSet(NamedTuple):
  """The examples that the steps of a run draw from."""

  size: int  # number of places; an epoch visits each once
  noun: str  # 'images' or 'rows'
  features: jax.ShapeDtypeStruct | None = None  # the head's input [1, ...]; None: no features
  resampler: str = ''  # a key of `RESAMPLERS`; '': the examples are not resampled
  k: int = 0
  m: int = 0
  text: str = ''  # what a reader is told of it; '': the data as they are

  @property
  def is_own(self) -> bool:
    """Whether each seed has examples of its own, instead of the data that all seeds share."""
    return self.features is not None or bool(self.resampler)


def build(
  config: ConfigDict, data: Dataset, net: nets.Network, only: tuple[str, ...]
) -> TrainingSet:
  """Returns what a run trains on.

  Args:
    config: the whole config.
    data: the data set.
    net: the network.
    only: the parts of it that train, () for all.

  Raises:
    UserError: for features of a network that changes, or data that cannot be resampled.
  """
  c, counts = config.examples, np.bincount(data.train_labels, minlength=len(data.class_names))
  size, noun = int(counts.sum()), data.noun
  features = None
  texts = []
  if c.of == 'features':
    _check_frozen(config, data, net, only)
    image = jax.ShapeDtypeStruct((1, *data.image_shape), jnp.result_type(float))
    features = jax.eval_shape(
      lambda key, x: net.embed(net.init(key, data.image_shape), x, False)[0],
      jax.random.key(0),
      image,
    )
    noun = 'rows'
    texts.append('features of the frozen network, without augmentation')
  if c.resample == 'none':
    return TrainingSet(size, noun, features, text='; '.join(texts))
  if noun != 'rows':
    raise UserError(
      f'--config.examples.resample={c.resample} makes new rows of numbers between others, but the '
      f'examples of {data.name} are images; use the features of a trained network, as the methods '
      'smote and borderline_smote do (--config.stages.NAME.examples.of=features).'
    )
  resamplers.check(c.resample, counts, c.k, c.m, data.class_names)
  reads = RESAMPLERS[c.resample].reads
  size += len(resamplers.missing(counts))
  texts.append(f'{c.resample}, {named(c, reads)}: {size} rows, {counts.max()} per class')
  return TrainingSet(size, noun, features, c.resample, c.k, c.m, '; '.join(texts))


def _check_frozen(
  config: ConfigDict, data: Dataset, net: nets.Network, only: tuple[str, ...]
) -> None:
  """Refuses features of a network whose trunk would change, or that no view can show."""
  shapes = jax.eval_shape(lambda key: net.init(key, data.image_shape), jax.random.key(0))
  below = [p for p in paths.flat(shapes['params']) if not paths.inside(p, ('head',))]
  moving = [p for p in below if not only or paths.inside(p, only)]
  if moving or config.optim.frozen_statistics != 'keep':
    raise UserError(
      '--config.examples.of=features needs a network that stays as it is below its head, but '
      f'{moving[0] if moving else "its batch statistics"} would change; set --config.optim.only='
      '"(\'head\',)" and --config.optim.frozen_statistics=keep.'
    )
  if config.teacher.run:
    raise UserError(
      f'--config.teacher.run={config.teacher.run} needs the images, but --config.examples.of='
      'features shows the head of the network their features alone; drop one of the two.'
    )


def shown(training: TrainingSet, data: Dataset) -> Dataset:
  """Returns a data set with the examples that views show: for features, rows instead of images."""
  if training.features is None:
    return data
  rows = np.zeros((0, int(np.prod(training.features.shape))), np.float32)
  return data._replace(name=f'the features of {data.name}', train_images=rows, side=0)
