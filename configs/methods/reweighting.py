"""Re-weighting: class weights in the loss, and losses that weigh easy images less."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Re-weighting'

# class weights from the first epoch on
_FROM_THE_START = {'reweight.share': ((0, 1.0),)}
_INVERSE = {'reweight.kind': 'inverse', 'reweight.power': 1.0}
_EFFECTIVE = {'reweight.kind': 'effective_number'}
_DEFERRED = {'reweight.share': _SHARED['DEFERRED_WEIGHTS']['reweight.share']}
# a loss of sigmoids begins at the prior 1 / C, with a bias that does not decay
_SIGMOIDS = {'net.head': 'linear_prior', 'optim.undecayed': ('*/linear/bias',)}

METHODS = {
  'cb': Method(
    _EFFECTIVE | _FROM_THE_START,
    'Class weights by the effective number of samples.',
    _PAPERS['Cui 2019'],
    'class weights',
  ),
  'drw': Method(
    _SHARED['DEFERRED_WEIGHTS'],
    'The weights of cb in the last fifth of the run (CE-DRW).',
    _PAPERS['Cao 2019'],
    'class weights',
  ),
  'inverse': Method(
    _INVERSE | _FROM_THE_START, 'Class weights 1 / n.', _PAPERS['Huang 2016'], 'class weights'
  ),
  'inverse_sqrt': Method(
    _INVERSE | _FROM_THE_START | {'reweight.power': 0.5},
    'Class weights 1 / sqrt(n).',
    _PAPERS['Mahajan 2018'],
    'class weights',
  ),
  'drw_inverse': Method(
    _INVERSE | _DEFERRED,
    'Class weights 1 / n in the last fifth of the run.',
    _PAPERS['Cao 2019'],
    'class weights',
  ),
  # the three bases of the class-balanced loss: softmax is `cb`, these are sigmoid and focal
  'cb_sigmoid': Method(
    _EFFECTIVE | _FROM_THE_START | _SIGMOIDS | {'loss': 'sigmoid'},
    'The weights of cb with a loss of sigmoids.',
    _PAPERS['Cui 2019'],
    'loss, class weights, head',
  ),
  'cb_focal': Method(
    _EFFECTIVE | _FROM_THE_START | _SIGMOIDS | {'loss': 'focal_sigmoid'},
    'The weights of cb with the focal loss of sigmoids.',
    _PAPERS['Cui 2019'],
    'loss, class weights, head',
  ),
  'focal': Method({'loss': 'focal'}, 'Focal loss of the softmax.', _PAPERS['Lin 2017'], 'loss'),
  'focal_sigmoid': Method(
    _SIGMOIDS | {'loss': 'focal_sigmoid'},
    'Focal loss of sigmoids.',
    _PAPERS['Lin 2017'],
    'loss, head',
  ),
}
