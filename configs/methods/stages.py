"""Second stages: something is trained once more, after the first stage is finished."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Second stages'


def _stage(name, delta):
  """A stage that follows, with what it sets."""
  return {f'stages.{name}.{key}': value for key, value in delta.items()}


def _classifier(epochs, parts, delta):
  """A second stage that trains parts of the head on the frozen rest, batch statistics too.

  Args:
    epochs: as a share of the first stage.
    parts: of the network, which train.
    delta: further keys of the stage.
  """
  recipe = {
    'epochs': epochs,
    'optim.only': parts,
    'optim.curve': 'cosine',
    'optim.warmup_epochs': 0.0,
  }
  return _stage('classifier', recipe | delta)


_BALANCED = {'streams.natural.sampler': 'class_balanced'}


def _features(resampler):
  """A second stage that trains a new head on features of the frozen rest, and on new ones.

  Args:
    resampler: makes the new ones, for every class up to the count of the largest.
  """
  return _classifier(
    0.1,
    ('head',),
    {
      'start.fresh': ('head',),
      'examples.of': 'features',
      'examples.resample': resampler,
      'data.augment': (),
    },
  )


METHODS = {
  # decoupling: the classifier once more, on the features of the finished first stage
  'crt': Method(
    _classifier(0.1, ('head',), _BALANCED | {'start.fresh': ('head',)}),
    'cRT: a new head is trained on class-balanced samples.',
    _PAPERS['Kang 2020'],
    'second stage',
  ),
  'lws': Method(
    _classifier(0.05, ('*/class_scale',), _BALANCED | {'net.class_scale': True}),
    'LWS: a scale of the logits is learned for each class.',
    _PAPERS['Kang 2020'],
    'second stage, head',
  ),
  'cb_head': Method(
    _classifier(
      0.1, ('head',), {'reweight.kind': 'effective_number', 'reweight.share': ((0, 1.0),)}
    ),
    'The head is trained once more, with class-balanced weights.',
    _PAPERS['Alshammari 2022'],
    'second stage, class weights',
  ),
  'smote': Method(
    _features('smote'),
    'SMOTE: a new head on features, with new ones between features of rare classes.',
    _PAPERS['Chawla 2002'],
    'second stage, examples',
  ),
  'borderline_smote': Method(
    _features('borderline_smote_1'),
    'Borderline-SMOTE 1: as smote, from features close to those of other classes.',
    _PAPERS['Han 2005'],
    'second stage, examples',
  ),
  # at a low rate on class-balanced samples, of which so many are new images that the classes are
  # balanced: what the network of the first stage sees them in is moved
  'cam_drs': Method(
    _stage(
      'deferred',
      _BALANCED
      | {
        'epochs': 0.25,
        'augment.cam': True,
        'teacher.run': 'previous',
        'optim.curve': 'steps',
        'optim.schedule': ((0, 0.01), (0.5, 0.0001)),
        'optim.warmup_epochs': 0.0,
      },
    ),
    'Deferred class-balanced sampling with new images, made by class activation maps.',
    _PAPERS['Zhang 2021'],
    'second stage with a teacher, sampler, augmentation',
  ),
  # a network anew, taught by that of the first stage, whose predictions are flattened
  'dive': Method(
    {'loss': 'balanced_softmax'}
    | _stage(
      'student',
      {
        'start.run': '',
        'teacher.run': 'previous',
        'loss': 'balanced_softmax',
        'loss_args.distillation.temperature': 2.0,
        'loss_args.distillation.power': 0.5,
        'terms.natural.weight': 0.5,
        'terms.distill.views': ('natural',),
        'terms.distill.loss': 'distillation',
        'terms.distill.weight': 0.5,
      },
    ),
    "DiVE: a new network learns from the first one's flattened predictions.",
    _PAPERS['He 2021'],
    'loss, second stage with a teacher, term',
  ),
}
