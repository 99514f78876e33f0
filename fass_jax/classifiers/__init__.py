"""Classifiers at test time that need no training; an open set: add a file and its name here.

Each fits arrays on a trained network, from its parameters, its training images or a held-out part
of them, and is a pure function of the network's outputs and these arrays. None sees a test image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fass_jax.classifiers import ncm, post_hoc, tau_norm, trained
from fass_jax.classifiers.base import Classifier, Setting, needs_held
from fass_jax.config.lookup import pick


class ClassifierKind(NamedTuple):
  """A classifier as a config names it."""

  build: Callable[[Setting], Classifier]
  # what it reads of the section `classifier_args`; all read `calibrate`
  reads: tuple[str, ...] = ()
  fitted: bool = True  # False: the network's own head
  ignores_head: bool = False  # reads the features alone
  removes_prior: bool = False  # takes out the prior that the network's logits imply


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
    setting: what is known of the run.

  Raises:
    UserError: for an unknown name, a bad value, or where it needs a held-out part that there is
      not.
  """
  made = pick(CLASSIFIERS, name, 'classifier').build(setting)
  if not setting.args.calibrate:
    return made
  needs_held(setting, 'The temperature of calibrate', f'leave {setting.flag}calibrate out')
  return made._replace(calibrated=True)
