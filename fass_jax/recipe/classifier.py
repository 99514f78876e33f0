"""From a config to the classifier at test time."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ml_collections import ConfigDict

from fass_jax import classifiers
from fass_jax.classifiers import CLASSIFIERS
from fass_jax.classifiers.base import Classifier, Setting
from fass_jax.config.lookup import pick
from fass_jax.recipe import prior
from fass_jax.recipe.text import named
from fass_jax.types import Dataset, Implied

log = logging.getLogger('fass_jax')


def setting_of(
  config: ConfigDict, classes: Sequence[str], counts: Sequence[int], implied: Implied, flag: str
) -> Setting:
  """Returns what a classifier is built for.

  Args:
    config: of the run.
    classes: C names.
    counts: `[C]`, training images of each class.
    implied: the prior that the network's logits imply.
    flag: how the user writes a key of `classifier_args`.
  """
  kind = pick(CLASSIFIERS, config.classifier, 'classifier')
  if implied.guesses and kind.removes_prior:
    log.info(
      'The prior that %s takes out is approximate: %s.',
      config.classifier,
      ', '.join(implied.guesses),
    )
  only = config.optim.only
  if kind.ignores_head and only and all(part.startswith('head') for part in only):
    log.warning(
      '%s reads the features alone, and %s trained nothing but the head: it classifies as on the '
      'run before.',
      config.classifier,
      config.method,
    )
  held = config.data.held_out > 0
  return Setting(config.classifier_args, flag, config.net, implied.prior, classes, counts, held)


def chosen(config: ConfigDict, data: Dataset) -> Classifier:
  """Returns the classifier of a run's end.

  Raises:
    UserError: as `classifiers.build`.
  """
  tested = data.num_tested
  implied = prior.implied(config, data.counts, tested)
  names, counts = data.class_names[:tested], data.counts[:tested].tolist()
  setting = setting_of(config, names, counts, implied, '--config.classifier_args.')
  return classifiers.build(config.classifier, setting)


def text_of(config: ConfigDict) -> str:
  """Returns what a reader is told of the classifier at the end, '' for the network's own."""
  args, kind = config.classifier_args, pick(CLASSIFIERS, config.classifier, 'classifier')
  if not kind.fitted and not args.calibrate:
    return ''
  keys = (*kind.reads, *(('calibrate',) if args.calibrate else ()))
  return '; '.join(filter(None, (config.classifier, named(args, keys))))
