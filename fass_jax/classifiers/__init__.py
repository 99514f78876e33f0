"""Test-time classifiers that need no training; to add one, add a file and a row of `CLASSIFIERS`.

A classifier fits arrays to a trained network, from its parameters, the training images or the
held-out images, and is a pure function of the network's outputs and these arrays. No classifier
uses test images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fass_jax.classifiers import ncm, post_hoc, tau_norm, trained
from fass_jax.classifiers.base import Classifier, Setting, needs_held
from fass_jax.config.lookup import pick


class ClassifierKind(NamedTuple):
  """A classifier and its properties, as listed in `CLASSIFIERS`."""

  build: Callable[[Setting], Classifier]
  # the keys of `classifier_args` that it reads; all classifiers read `calibrate`
  reads: tuple[str, ...] = ()
  fitted: bool = True  # False: the network's own head
  ignores_head: bool = False  # True: reads the features only
  removes_prior: bool = False  # True: removes the class prior that the network's logits imply


CLASSIFIERS: dict[str, ClassifierKind] = {
  'trained': ClassifierKind(trained.build, fitted=False),
  'tau_norm': ClassifierKind(tau_norm.build, ('tau',)),
  'ncm': ClassifierKind(ncm.build, ('ncm',), ignores_head=True),
  'post_hoc': ClassifierKind(post_hoc.build, ('tau', 'prior'), removes_prior=True),
}


def build(name: str, setting: Setting) -> Classifier:
  """Returns a classifier by name.

  Args:
    name: a key of `CLASSIFIERS`.
    setting: the properties of the run.

  Raises:
    UserError: if the name is unknown, a value is invalid, or the run has no held-out images and the
      classifier needs them.
  """
  made = pick(CLASSIFIERS, name, 'classifier').build(setting)
  if not setting.args.calibrate:
    return made
  needs_held(setting, 'The temperature of calibrate', f'leave {setting.flag}calibrate out')
  return made._replace(calibrated=True)
