"""Post-hoc logit adjustment: the logits that the network would have under another class prior."""

from __future__ import annotations

from fass_jax import priors
from fass_jax.classifiers import trained
from fass_jax.classifiers.base import Classifier, Setting, number


def build(setting: Setting) -> Classifier:
  """Returns z_c - tau log pi_c + log pi'_c, pi implied by the logits and pi' wanted.

  With tau = 1 the optimum of cross-entropy becomes that under pi'; a temperature acts on z before.

  Raises:
    UserError: for a tau that is no number, or a prior that is none.

  Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021; Hong, Han, Choi, Seo, Kim,
  Chang, CVPR 2021 (pi' of any kind).
  """
  args = setting.args
  tau = 1.0 if args.tau == 'auto' else number(setting, 'tau', args.tau)
  wanted = priors.wanted(args.prior, setting.classes, setting.counts, f'{setting.flag}prior')
  return trained.build(setting)._replace(
    moves=(setting.implied**tau, wanted), told=lambda fitted: {'tau': tau}
  )
