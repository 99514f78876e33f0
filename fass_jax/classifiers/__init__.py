"""Classifiers at test time that need no training; an open set: add a file and its name here.

Each fits arrays on a trained network, from its parameters, its training images or a held-out part
of them, and is a pure function of the network's outputs and these arrays. None sees a test image.
"""

from __future__ import annotations

from collections.abc import Callable

from fass_jax.classifiers import ncm, post_hoc, tau_norm, trained
from fass_jax.classifiers.base import Classifier, Setting, needs_held
from fass_jax.config.lookup import pick

CLASSIFIERS: dict[str, Callable[[Setting], Classifier]] = {
  'trained': trained.build,
  'tau_norm': tau_norm.build,
  'ncm': ncm.build,
  'post_hoc': post_hoc.build,
}
# what each reads of the section `classifier_args`; all read `calibrate`
READS = {'trained': (), 'tau_norm': ('tau',), 'ncm': ('ncm',), 'post_hoc': ('tau', 'prior')}


def build(name: str, setting: Setting) -> Classifier:
  """Returns a classifier by name.

  Args:
    name: a key of `CLASSIFIERS`.
    setting: what is known of the run.

  Raises:
    UserError: for an unknown name, a bad value, or where it needs a held-out part that there is
      not.
  """
  made = pick(CLASSIFIERS, name, 'classifier')(setting)
  if not setting.args.calibrate:
    return made
  needs_held(setting, 'The temperature of calibrate', f'leave {setting.flag}calibrate out')
  return made._replace(calibrated=True)
