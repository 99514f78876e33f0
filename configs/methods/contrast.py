"""Losses that compare the features of several images."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Contrast'


def _contrast(*views, ops=('simclr',)):
  """Two strongly augmented views of the natural stream, in one pass with the natural view."""
  delta: dict = {'views.natural.group': 'contrast'}
  for draw, name in enumerate(views, 1):
    delta |= {
      f'views.{name}.stream': 'natural',
      f'views.{name}.augment': ops,
      f'views.{name}.draw': draw,
      f'views.{name}.group': 'contrast',
    }
  return delta


_BCL = (
  _SHARED['COSINE_HEAD']
  | _contrast('contrast1', 'contrast2')
  | {
    'loss': 'balanced_softmax',
    'net.projection': 128,
    'terms.natural.weight': 2.0,
    'terms.contrast.views': ('contrast1', 'contrast2'),
    'terms.contrast.loss': 'balanced_contrastive',
    'terms.contrast.weight': 0.6,
  }
)
# the settings of BCL's followers for CIFAR, beyond the method itself
_STRONG = {
  'batch_size': 256,
  'optim.lr': 0.15,
  'optim.weight_decay': 5e-4,
  'optim.schedule': ((0, 1.0), (0.8, 0.1), (0.9, 0.01)),
  'augment.autoaugment': True,
}
# ConCutMix's recipe without its CutMix: BCL with blur in the contrast and a power of the prior
_CONCUTMIX_PLAIN = (
  _BCL
  | _contrast('contrast1', 'contrast2', ops=('simclr', 'blur'))
  | _STRONG
  | {
    'loss': 'rectified_la',
    'loss_args.rectified_la.tau': 0.9,
    'loss_args.rectified_la.k': 30,
    'loss_args.rectified_la.omega': 0.0,
    'loss_args.rectified_la.share': ((0, 0.0), (0.5, 1.0)),
  }
)
# foregrounds of any class in every second batch, with both labels
_CONCUTMIX_AREA = _CONCUTMIX_PLAIN | {
  'streams.natural.partner': 'class_uniform',
  'streams.natural.lam': 'batch_beta',
  'streams.natural.chance': ((0, 0.5),),
  'views.natural.mix': 'cutmix_batch',
  'views.natural.label': 'mixed',
}

METHODS = {
  'bcl': Method(
    _BCL,
    'BCL: balanced contrast of two views, with a balanced softmax.',
    _PAPERS['Zhu 2022'],
    'two views, contrastive term, projection, loss',
  ),
  'bcl_full': Method(
    _BCL | _STRONG | {'augment.cutout': True},
    'BCL with AutoAugment, Cutout and a batch of 256.',
    _PAPERS['Zhu 2022'],
    'as bcl, augmentation, optimiser',
  ),
  'concutmix': Method(
    _CONCUTMIX_AREA | {'loss_args.rectified_la.omega': 20 / 255},
    'ConCutMix: class-balanced CutMix on BCL, labels corrected by the class centres.',
    _PAPERS['Pan 2024'],
    'as bcl_full, partner, ratio and mix of the natural view, blur, loss',
  ),
  'concutmix_area': Method(
    _CONCUTMIX_AREA,
    'ConCutMix with the labels of CutMix, uncorrected.',
    _PAPERS['Pan 2024'],
    'as concutmix, labels by area',
  ),
  'concutmix_plain': Method(
    _CONCUTMIX_PLAIN,
    'The recipe of ConCutMix without CutMix, its control.',
    _PAPERS['Pan 2024'],
    'as concutmix, no mix',
  ),
  # ranges inside the classes of P x K batches, half a batch beside the natural one
  'range': Method(
    {
      'streams.groups.sampler': 'groups',
      'streams.groups.images': 4,
      'streams.groups.rho': 0.5,
      'views.groups.stream': 'groups',
      'terms.range.views': ('groups',),
      'terms.range.loss': 'range',
      'terms.range.weight': 0.01,
    },
    'Range loss on P x K batches.',
    _PAPERS['Zhang 2017'],
    'stream, view, term',
  ),
}
