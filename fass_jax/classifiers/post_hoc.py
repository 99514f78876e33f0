"""Post-hoc logit adjustment: the logits that the network would have under another class prior."""

from __future__ import annotations

import logging

import numpy as np

from fass_jax.classifiers import prior_shift, trained
from fass_jax.classifiers.base import Classifier, Setting, number
from fass_jax.types import UserError

SPAN = 80.0  # e^-80 is a float32

log = logging.getLogger('fass_jax')


def build(setting: Setting) -> Classifier:
  """Returns z_c - tau log pi_c + log pi'_c, pi implied by the logits and pi' wanted.

  With tau = 1 the optimum of cross-entropy becomes that under pi'; a temperature acts on z before.

  Raises:
    UserError: for a tau that is no number or too large a one, or a prior that is none.

  Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021; Hong, Han, Choi, Seo, Kim,
  Chang, CVPR 2021 (pi' of any kind).
  """
  args = setting.args
  tau = 1.0 if args.tau == 'auto' else number(setting, 'tau', args.tau)
  shift = tau * np.log(setting.implied)
  if (span := np.ptp(shift)) > SPAN:
    raise UserError(
      f'{setting.flag}tau={args.tau} would move logits by {span:.0f} nats against each other, more '
      f'than a float32 holds as a prior; give at most {tau * SPAN / span:.3g}.'
    )
  wanted = prior_shift.wanted(args.prior, setting.classes, setting.counts, f'{setting.flag}prior')
  old = np.exp(shift - shift.max())
  if np.allclose(old / old.sum(), wanted, rtol=1e-3, atol=0):
    log.warning('post_hoc changes nothing here: the logits imply the prior that is wanted already.')
  return trained.build(setting)._replace(
    moves=(old, wanted), fitted_values=lambda fitted: {'tau': tau}
  )
