"""The same-code comparison of BagofTricks-LT as runs: one code base, one recipe, every family.

`configs/tables.py` takes it in. The published figures and the settings of each row are those of the
repository (zhangyongshun/BagofTricks-LT, its gallery and configs of the subsets of Cao et al.),
which prints errors, here as accuracies: ResNet-32, crop and flip, 200 epochs, steps at 160 and 180,
Nesterov, the last batch dropped, a linear head that begins as PyTorch's, one seed.
"""

import pathlib
import runpy
from typing import Any

_Row = runpy.run_path(str(pathlib.Path(__file__).with_name('thesis_tables.py')))['Row']
SOURCE = 'BagofTricks-LT'
FACTORS = (100, 50)

# label, config string, errors: CIFAR-10-LT at IF 100 and 50, CIFAR-100-LT at IF 100 and 50
_ROWS = (
  ('CE', 'ce', 29.64, 25.19, 61.68, 56.15),
  ('inverse-frequency CE', 'inverse', 31.70, 23.20, 67.73, 63.49),
  ('inverse-square-root CE', 'inverse_sqrt', 31.70, 22.22, 61.64, 57.23),
  ('focal loss', 'focal_sigmoid', 28.44, 22.09, 62.78, 58.21),
  ('CB-CE', 'cb', 29.52, 22.52, 61.03, 56.22),
  ('CB-focal', 'cb_focal', 24.80, 21.01, 61.44, 57.63),
  ('label smoothing', 'label_smoothing', 27.19, 23.43, 61.56, 57.66),
  ('LDAM (no DRW)', 'ldam_plain', 26.34, 20.99, 61.12, 56.41),
  ('CDT', 'cdt', 22.90, 18.19, 60.41, 55.17),
  ('balanced softmax', 'balanced_softmax', 22.46, 18.89, 57.01, 53.45),
  ('class-balanced sampling', 'class_balanced', 27.55, 21.92, 64.76, 60.54),
  ('square-root sampling', 'square_root', 28.58, 22.32, 63.21, 58.87),
  ('progressive sampling', 'progressive', 28.02, 21.43, 60.96, 56.88),
  ('BBN-style sampling + MixUp', 'bbn_mixup', 28.38, 21.89, 62.94, 57.97),
  ('input MixUp', 'mixup', 25.94, 21.33, 59.18, 54.08),
  ('Manifold MixUp', 'manifold_mixup', 24.81, 20.42, 60.12, 54.76),
  ('DRW: inverse-frequency CE', 'drw_inverse', 25.18, 20.18, 58.38, 53.20),
  ('DRW: CB-CE', 'drw', 25.36, 20.65, 60.79, 56.63),
  ('DRW: LDAM', 'ldam', 22.27, 18.40, 57.53, 52.71),
  ('DRS: class-balanced', 'drs', 24.93, 19.27, 59.36, 54.58),
  ('DRS: CAM-balanced', 'cam_drs', 23.10, 19.28, 58.05, 53.27),
  ('tau-norm', 'tau_norm', 27.30, 20.22, 59.04, 54.31),
  ('cRT', 'crt', 25.01, 19.83, 59.74, 54.64),
  ('LWS', 'lws', 27.37, 21.34, 59.84, 54.79),
  ('DiVE', 'dive', 21.12, 17.56, 54.48, 49.17),
)
# rows that it lacks
_MORE = (
  ('control: logit adjustment', 'logit_adjustment'),
  ('control: post-hoc logit adjustment', 'post_hoc'),
  ('control: nearest class mean', 'ncm'),
  ('control: BBN', 'bbn'),
  ('control: FASS', 'fass'),
)
# inside an IF: one of each family first
_ORDER = (
  'ce', 'balanced_softmax', 'drw', 'crt', 'ldam', 'class_balanced', 'cb_focal', 'tau_norm', 'bbn',
  'lws', 'inverse', 'drs', 'cdt', 'post_hoc', 'progressive', 'ldam_plain', 'fass',
)  # fmt: skip

_BASE = {'optim.nesterov': True, 'last_batch': 'drop'}
_COSINE = ('ldam', 'ldam_plain')
# its losses of sigmoids begin with the head of all others
_SIGMOID = {'optim.undecayed': ()}
_LONG = {'epochs': 400}
# 30 epochs in steps; the frozen network stays in training mode, so its batch statistics follow
_STAGE = {
  f'stages.classifier.{key}': value
  for key, value in {
    'epochs': 0.15,
    'optim.curve': 'steps',
    'optim.schedule': ((0, 1.0), (0.3333, 0.1), (0.6666, 0.01)),
    'optim.warmup_epochs': 5.0,
    'optim.warmup_fraction': 0.2,
    'optim.weight_decay': 5e-4,
    'optim.frozen_statistics': 'drift',
  }.items()
}
_KEYS: dict[str, dict[str, Any]] = {
  'focal_sigmoid': _SIGMOID | {'loss_args.focal_sigmoid.gamma': 2.0},
  'cb_focal': _SIGMOID | {'terms.natural.divisor': 'batch'},
  'mixup': _LONG,
  'manifold_mixup': _LONG,
  'tau_norm': {'classifier_args.tau': '1', 'data.held_out': 0.0},
  'crt': _STAGE,
  'lws': _STAGE,
  'cam_drs': {'epochs': 160, 'optim.schedule': ((0, 1.0),)},
  'dive': {'optim.schedule': ((0, 1.0), (0.6, 0.01), (0.8, 0.0001))},
}
# beta and gamma of CB-focal by data set and IF; CB-CE has .9999 and .9
_CB_FOCAL = {
  ('cifar10', 100): (0.9999, 1.0),
  ('cifar10', 50): (0.9999, 2.0),
  ('cifar100', 100): (0.9, 1.0),
  ('cifar100', 50): (0.99, 1.0),
}


def _keys(method, base, factor):
  """Returns what a row sets beyond its method and what all rows have."""
  keys: dict[str, Any] = {'imb_factor': float(factor)}
  if method not in _COSINE:
    keys['net.head'] = 'linear_torch'
  if method in ('cb', 'drw'):
    keys['reweight.beta'] = 0.9999 if base == 'cifar10' else 0.9
  if method == 'cb_focal':
    keys['reweight.beta'], keys['loss_args.focal_sigmoid.gamma'] = _CB_FOCAL[base, factor]
  if (method, base, factor) == ('cam_drs', 'cifar100', 100):  # its other three have no warm-up
    keys |= {
      'stages.deferred.optim.warmup_epochs': 5.0,
      'stages.deferred.optim.warmup_fraction': 0.125,
    }
  return keys | _KEYS.get(method, {})


def _rows(base, column):
  """Returns the rows of a data set; `column` is where its figures begin."""
  rows = []
  for i, factor in enumerate(FACTORS):
    for label, method, *errors in (*_ROWS, *_MORE):
      figures = {SOURCE: round(100 - errors[column + i], 2)} if errors else {}
      rank = 100 * i + (_ORDER.index(method) if method in _ORDER else len(_ORDER))
      rows.append(_Row(label, method, _keys(method, base, factor), published=figures, rank=rank))
  return rows


_OWN = {'cifar100': '37.73 and 43.78', 'cifar10': '71.95 and 76.45'}


def _table(base, name, column):
  return {
    'title': f'The same-code comparison of BagofTricks-LT: {name}, ResNet-32',
    'config': f'configs/{base}_lt.py',
    'rows': _rows(base, column),
    'overrides': _BASE,
    'by': 'imb_factor',
    'shown': ('epochs', 'reweight', 'loss_args', 'classifier_args'),
    'published': True,
    'remarks': (
      "Each row has the settings of that repository's config: both kinds of MixUp have 400 epochs, "
      'cRT and LWS 30 of their own, DiVE steps at 120 and 160 and a teacher of the same length, '
      'the losses of sigmoids no prior in their bias, tau-norm tau = 1 without a search.',
      'It says neither which epoch a figure is of (it keeps the best on the test set) nor how many '
      'runs; it trains in mixed precision. Its CE row is the one of Cao et al.; its own run of CE '
      f'came to {_OWN[base]}.',
      'tau-norm keeps the bias there, and drops it here as the paper does. The text on BBN-style '
      'sampling has MixUp, as here; the config puts both samples into one batch instead.',
      'CAM-balanced: 160 epochs at a constant rate, then 40. New images are made at every draw and '
      'not once, by the network of the last epoch and not of the best on the test set, which looks '
      'at the image itself: the code lets it look at a random crop, mirrored or not. An object is '
      'turned about its box and shifted inside the image, as the paper says; boxes of the code end '
      'at their second row and column.',
    ),
  }


TABLES = {
  'bagoftricks': _table('cifar100', 'CIFAR-100-LT', 2),
  'bagoftricks_cifar10': _table('cifar10', 'CIFAR-10-LT', 0),
}
