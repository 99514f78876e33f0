"""Re-sampling: rare classes are drawn more often."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Re-sampling'

_FILLS = 'sampler of the natural stream'


def _sampled(name, title, paper):
  return Method({'streams.natural.sampler': name}, title, _PAPERS[paper], _FILLS)


def _effective(beta, title, paper):
  delta = {'streams.natural.sampler': 'effective_number', 'streams.natural.beta': beta}
  return Method(delta, title, _PAPERS[paper], _FILLS)


METHODS = {
  'ens': _effective(0.0, 'Sampling by the effective number of samples.', 'Cui 2019'),
  # as LDAM's comparison does it
  'cb_resample': _effective(
    0.9999, 'Sampling by the effective number of samples, beta .9999.', 'Cao 2019'
  ),
  'class_balanced': _sampled(
    'class_balanced', 'Sampling in which all classes are equally likely.', 'Kang 2020'
  ),
  'square_root': _sampled('square_root', 'Sampling by the square root of the counts.', 'Kang 2020'),
  'progressive': _sampled(
    'progressive', 'Sampling that moves from natural to class-balanced.', 'Kang 2020'
  ),
  'reversed': _sampled('reversed', 'Sampling by the inverse of the counts.', 'Zhou 2020'),
  'drs': _sampled('power', 'Class-balanced sampling in the last fifth of the run.', 'Cao 2019'),
}
