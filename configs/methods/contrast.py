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


# weights of the two terms, and what the second needs
_TERMS = {
  'net.projection': 128,
  'terms.natural.weight': 2.0,
  'terms.contrast.views': ('contrast1', 'contrast2'),
  'terms.contrast.loss': 'balanced_contrastive',
  'terms.contrast.weight': 0.6,
}
_BCL = (
  _SHARED['COSINE_HEAD']
  | _contrast('contrast1', 'contrast2')
  | _TERMS
  | {'loss': 'balanced_softmax'}
)
# the settings of BCL's followers for CIFAR, beyond the method itself
_RECIPE = {
  'batch_size': 256,
  'optim.lr': 0.15,
  'optim.weight_decay': 5e-4,
  'optim.schedule': ((0, 1.0), (0.8, 0.1), (0.9, 0.01)),
  'augment.autoaugment': True,
}
_STRONG = _RECIPE | {'augment.cutout': True}
_CONCUTMIX = (
  _contrast('contrast1', 'contrast2', ops=('simclr', 'blur'))
  | _TERMS
  | _RECIPE
  | {
    'loss': 'concutmix',
    'loss_args.concutmix.tau': 0.9,  # at imbalance factor 100; .75 at 50, 1 at 10
    'loss_args.concutmix.omega': ((0, 0.0), (0.5, 20 / 255)),
    # foregrounds of uniform classes; the contrast sees the images before they are mixed
    'streams.natural.partner': 'class_uniform',
    'streams.natural.lam': 'batch_beta',
    'streams.natural.chance': ((0, 0.5),),
    'views.natural.mix': 'cutmix_batch',
    'views.natural.label': 'mixed',
  }
)

METHODS = {
  'bcl': Method(
    _BCL,
    'BCL: balanced contrast of two views, with a balanced softmax.',
    _PAPERS['Zhu 2022'],
    'two views, contrastive term, projection, loss',
  ),
  'bcl_full': Method(
    _BCL | _STRONG,
    'BCL with AutoAugment, Cutout and a batch of 256.',
    _PAPERS['Zhu 2022'],
    'as bcl, augmentation, optimiser',
  ),
  'concutmix': Method(
    _CONCUTMIX,
    'ConCutMix: class-balanced CutMix with semantically consistent labels, beside contrast.',
    _PAPERS['Pan 2024'],
    'as bcl, mix of the natural view, augmentation, optimiser',
  ),
  'concutmix_area': Method(
    _CONCUTMIX | {'loss_args.concutmix.omega': ((0, 0.0),)},
    'ConCutMix with labels by area alone, a control.',
    _PAPERS['Pan 2024'],
    'as concutmix',
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
