"""Augmentation: fixed policies, and policies that follow each class."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Augmentation'


def _switched(name, title, paper):
  return Method({f'augment.{name}': True}, title, _PAPERS[paper], 'augmentation')


_LEVELS = {'signals.levels.kind': 'levels', 'augment.cuda': True}
_WEIGHTS = {'signals.ops.kind': 'op_weights', 'augment.doda': True}

METHODS = {
  # both with Cutout, as their authors have it
  'cuda': Method(
    _LEVELS | {'augment.cutout': True},
    'CUDA: as many operations as a class bears, with Cutout.',
    _PAPERS['Ahn 2023'],
    'level signal, augmentation',
  ),
  'cuda_plain': Method(
    _LEVELS, 'CUDA without Cutout.', _PAPERS['Ahn 2023'], 'level signal, augmentation'
  ),
  'doda': Method(
    _WEIGHTS | {'augment.cutout': True},
    'DODA: one operation per class, drawn by learned weights, with Cutout.',
    _PAPERS['Wang 2024'],
    'op-weight signal, augmentation',
  ),
  'cutout': _switched('cutout', 'Cutout.', 'DeVries 2017'),
  'autoaugment': _switched('autoaugment', 'AutoAugment, the policy for CIFAR.', 'Cubuk 2019'),
  'randaugment': _switched('randaugment', 'RandAugment.', 'Cubuk 2020'),
}
