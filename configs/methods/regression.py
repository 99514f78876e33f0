"""Regression: what is predicted is a number, and some ranges of it are rare."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Regression'
_TASKS = ('regression',)

# the mean of w l is over the batch, as published, and not over the weights
_WEIGHTS = {
  'reweight.kind': 'density',
  'reweight.share': ((0, 1.0),),
  'terms.natural.divisor': 'batch',
}
_SQINV = _WEIGHTS | {'reweight.mode': 'sqrt_inv', 'reweight.kernel': 'none'}
# of the paper; the published program has size 9 and sigma 1 if it is not told
_WINDOW = {'kernel': 'gaussian', 'size': 5, 'sigma': 2.0}


def _row(delta, title, paper, fills):
  return Method(delta, title, paper, fills, tasks=_TASKS)


METHODS = {
  'l1': _row({'loss': 'l1'}, 'The absolute error, plain training.', '-', 'nothing'),
  'sqinv': _row(
    _SQINV, 'Weights 1 / sqrt(n) by the bin of the label.', _PAPERS['Yang 2021'], 'class weights'
  ),
  'inverse_labels': _row(
    _WEIGHTS | {'reweight.mode': 'inverse', 'reweight.kernel': 'none'},
    'Weights 1 / n by the bin of the label.',
    _PAPERS['Yang 2021'],
    'class weights',
  ),
  'lds': _row(
    _WEIGHTS
    | {'reweight.mode': 'sqrt_inv'}
    | {f'reweight.{key}': value for key, value in _WINDOW.items()},
    'LDS: the weights of sqinv, smoothed over neighbouring bins.',
    _PAPERS['Yang 2021'],
    'class weights',
  ),
  'fds': _row(
    {'signals.fds.kind': 'fds', 'signals.fds.source': 'pass'}
    | {f'signals.fds.{key}': value for key, value in _WINDOW.items()},
    'FDS: features move to statistics of neighbouring bins in training.',
    _PAPERS['Yang 2021'],
    'signal, features',
  ),
  'focal_r': _row(
    {'loss': 'focal_l1'},
    'Focal-R: small errors count less than large ones.',
    _PAPERS['Yang 2021'],
    'loss',
  ),
  'rrt': _row(
    {
      f'stages.regressor.{key}': value
      for key, value in (
        _SQINV
        | {
          'loss': 'l1',
          'epochs': 0.25,
          'optim.only': ('head',),
          'start.fresh': ('head',),
          'optim.curve': 'cosine',
          'optim.warmup_epochs': 0.0,
        }
      ).items()
    },
    'RRT: a new head is trained with the weights of sqinv.',
    _PAPERS['Yang 2021'],
    'second stage',
  ),
  'balanced_mse': _row(
    {'loss': 'balanced_mse', 'net.head': 'linear_noise', 'optim.undecayed': ('*/noise',)},
    'Balanced MSE: the other labels of the batch compete with the own one.',
    _PAPERS['Ren 2022'],
    'loss, head',
  ),
}
