"""Mixing of images: MixUp, CutMix and their long-tailed relatives."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Mixing'


def _label_mix(mix):
  """The natural view mixed inside its batch, one lambda a batch, with both labels."""
  return {
    'streams.natural.partner': 'permutation',
    'streams.natural.lam': 'batch_beta',
    'views.natural.mix': mix,
    'views.natural.label': 'mixed',
  }


_MIX = 'mix of the natural view'
_PARTNERS = 'partner, ratio and mix of the natural view'

METHODS = {
  'mixup': Method(_label_mix('mixup'), 'MixUp with both labels.', _PAPERS['Zhang 2018'], _MIX),
  'cutmix': Method(_label_mix('cutmix'), 'CutMix with both labels.', _PAPERS['Yun 2019'], _MIX),
  # at one layer
  'manifold_mixup': Method(
    _label_mix('manifold'),
    'Manifold MixUp of the features before the head.',
    _PAPERS['Verma 2019'],
    _MIX,
  ),
  'cmo': Method(
    {
      'streams.natural.partner': 'class_uniform',
      'streams.natural.lam': 'batch_beta',
      'streams.natural.chance': ((0, 0.0), (0.02, 0.5), (0.985, 0.0)),
      'views.natural.mix': 'cutmix_batch',
      'views.natural.label': 'mixed',
    },
    'CMO: CutMix with class-uniform foregrounds in every second batch.',
    _PAPERS['Park 2022'],
    _PARTNERS,
  ),
  # a natural image beside one of the reversed sampler, with both labels
  'bbn_mixup': Method(
    {
      'streams.natural.partner': 'reversed',
      'streams.natural.lam': 'batch_beta',
      'views.natural.mix': 'mixup',
      'views.natural.label': 'mixed',
    },
    'MixUp of natural and reversed samples.',
    _PAPERS['Zhang 2021'],
    _PARTNERS,
  ),
}
