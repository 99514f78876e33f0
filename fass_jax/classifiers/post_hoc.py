"""Post-hoc logit adjustment: moves a trained network's logits to another class prior."""

from __future__ import annotations

import logging

import numpy as np

from fass_jax.classifiers import prior_shift, trained
from fass_jax.classifiers.base import Classifier, Setting, number
from fass_jax.types import UserError

SPAN = 80.0  # nats; e^-80 is still representable in float32

log = logging.getLogger('fass_jax')


def build(setting: Setting) -> Classifier:
  """Returns the classifier with logits z_c - tau log pi_c + log pi'_c.

  pi is the prior that z implies, pi' the target prior. With tau = 1 the optimal classifier under pi
  becomes the optimal classifier under pi'. If calibrated, z is divided by the temperature first.

  Raises:
    UserError: if tau is not a number or is too large, or if the target prior is invalid.

  Reference: Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314; for any pi':
  Hong et al., Disentangling Label Distribution for Long-tailed Visual Recognition,
  arXiv:2012.00321.
  """
  args = setting.args
  tau = 1.0 if args.tau == 'auto' else number(setting, 'tau', args.tau)
  shift = tau * np.log(setting.implied)
  if (span := np.ptp(shift)) > SPAN:
    raise UserError(
      f'{setting.flag}tau={args.tau} would move logits by {span:.0f} nats relative to each other, '
      f'which underflows in float32; give at most {tau * SPAN / span:.3g}.'
    )
  wanted = prior_shift.wanted(args.prior, setting.classes, setting.counts, f'{setting.flag}prior')
  old = np.exp(shift - shift.max())
  if np.allclose(old / old.sum(), wanted, rtol=1e-3, atol=0):
    log.warning('post_hoc has no effect here: the logits already imply the requested class prior.')
  return trained.build(setting)._replace(
    moves=(old, wanted), fitted_values=lambda fitted: {'tau': tau}
  )
