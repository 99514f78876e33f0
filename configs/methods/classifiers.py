"""Classifiers at test time, fitted on a trained network without training."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Classifiers at test time'

METHODS = {
  'tau_norm': Method(
    {'classifier': 'tau_norm', 'data.held_out': 0.1},
    'Weights divided by a power tau of their norm; tau is chosen on a held-out tenth.',
    _PAPERS['Kang 2020'],
    'classifier, held-out images',
  ),
  'ncm': Method({'classifier': 'ncm'}, 'Nearest class mean.', _PAPERS['Kang 2020'], 'classifier'),
  'post_hoc': Method(
    {'classifier': 'post_hoc'},
    'Logit adjustment after training.',
    _PAPERS['Menon 2021'],
    'classifier',
  ),
}
