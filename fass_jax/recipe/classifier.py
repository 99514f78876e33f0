"""From a config to the classifier at test time."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from fass_jax import classifiers
from fass_jax.classifiers.base import Classifier, Setting
from fass_jax.recipe import prior
from fass_jax.types import Dataset

log = logging.getLogger('fass_jax')


def setting_of(
  config: ConfigDict, classes: Sequence[str], counts: Sequence[int], flag: str
) -> Setting:
  """Returns what a classifier is built for.

  Args:
    config: of the run.
    classes: C names.
    counts: `[C]`, training images of each class.
    flag: how the user writes a key of `classifier_args`.
  """
  found = prior.implied(config, counts)
  if found.guesses and config.classifier == 'post_hoc':
    log.info('The prior that post_hoc takes out is approximate: %s.', ', '.join(found.guesses))
  only = config.optim.only
  if config.classifier == 'ncm' and only and all(part.startswith('head') for part in only):
    log.warning(
      'ncm reads the features alone, and %s trained nothing but the head: it classifies as on the '
      'run before.',
      config.method,
    )
  held = config.data.held_out > 0
  return Setting(config.classifier_args, flag, config.net, found.prior, classes, counts, held)


def chosen(config: ConfigDict, data: Dataset) -> tuple[Classifier, Setting]:
  """Returns the classifier of a run's end, and what it was built for.

  Raises:
    UserError: as `classifiers.build`.
  """
  counts = np.bincount(data.train_labels, minlength=len(data.class_names)).tolist()
  setting = setting_of(config, data.class_names, counts, '--config.classifier_args.')
  return classifiers.build(config.classifier, setting), setting
