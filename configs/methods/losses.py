"""Losses that move margins or logits by the class counts."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Margins and logit adjustment'


def _loss(title, paper, **delta):
  return Method(delta, title, _PAPERS[paper], 'loss')


METHODS = {
  'ldam': Method(
    _SHARED['DEFERRED_WEIGHTS'] | _SHARED['COSINE_HEAD'] | {'loss': 'ldam'},
    'LDAM-DRW: larger margins for rare classes, deferred class weights.',
    _PAPERS['Cao 2019'],
    'loss, cosine head, class weights',
  ),
  'ldam_plain': Method(
    _SHARED['COSINE_HEAD'] | {'loss': 'ldam'},
    'LDAM without class weights.',
    _PAPERS['Cao 2019'],
    'loss, cosine head',
  ),
  'balanced_softmax': _loss(
    'Balanced softmax: the log counts are added to the logits.',
    'Ren 2020',
    loss='balanced_softmax',
  ),
  'logit_adjustment': _loss('Logit adjustment in the loss.', 'Menon 2021', loss='logit_adjustment'),
  'weighted_la': _loss(
    'Logit adjustment with class weights pi^(tau - 1).', 'Menon 2021', loss='weighted_la'
  ),
  'la_adaptive': _loss(
    'Logit adjustment with a margin pi^(-1/4).', 'Menon 2021', loss='la_adaptive'
  ),
  # equal rates of 1 are logit adjustment; half the rate on the others' priors is another loss
  'two_rate': Method(
    {'loss': 'two_rate', 'loss_args.two_rate.tau2': 0.5},
    'Pairwise margins with a rate for each of the two priors.',
    _PAPERS['Menon 2021'],
    'loss',
  ),
  'equalised': _loss(
    'Equalisation loss: rare classes are pushed down less.', 'Tan 2020', loss='equalised'
  ),
  # alpha .3, beta .5, r0 .5, as the published command has them; the paper's are .5, .5, .2
  'car': Method(
    {
      'signals.confusion.kind': 'confusion',
      'signals.confusion.decay': 0.5,
      'terms.car.views': ('natural',),
      'terms.car.loss': 'car',
      'terms.car.weight': 0.3,
    },
    'CAR: a penalty on the largest confusions of the classes.',
    _PAPERS['CAR 2026'],
    'signal, term',
  ),
  # which classes are auxiliary is up to the data set, see `OTHERWISE` of its config
  'extrapolate': Method(
    {'loss': 'neighbour_silencing'},
    'Category extrapolation: look-alike classes are trained too, and not tested.',
    _PAPERS['Neighbors 2025'],
    'loss, classes',
  ),
  'cdt': _loss('Class-dependent temperatures.', 'Ye 2020', loss='cdt'),
}
