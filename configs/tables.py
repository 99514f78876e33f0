"""The tables of results as lists of runs; `launch/tables.py` runs and prints them.

A row begins with (label, method string, overrides); `Row` of `configs/thesis_tables.py` names what
may follow. Every row of a table trains on the same subset and is seeded alike, so that rows differ
by what their label says. A table may have `overrides` for all its rows, `remarks` that are printed
under it, `by`: an override that cuts it into blocks, and `shown`: the sections whose overrides are
printed with a row (all without it).
"""

import pathlib
import runpy
from typing import Any

from fass_jax.config import method_rows

_THESIS = runpy.run_path(str(pathlib.Path(__file__).with_name('thesis_tables.py')))
_BAG = runpy.run_path(str(pathlib.Path(__file__).with_name('bagoftricks.py')))
_EVIDENCE = runpy.run_path(str(pathlib.Path(__file__).with_name('evidence.py')))

_FASS = 'fass'

_SHORT = (
  '60 epochs of 6 steps are too short for so much augmentation of 8 x 8 pixels: without Cutout, '
  'which hides up to a quarter of a digit, or with 180 epochs most of it comes back (table "digits '
  'why").'
)
_FLIPS = (
  'Its ops mirror, flip and invert, which makes other digits of digits and takes longer to learn: '
  'with 180 epochs, or without Cutout on top, most of it comes back (table "digits why").'
)
# by method string: why a method is more than 10 points under CE on the digits
NOTES: dict[str, str] = {
  **dict.fromkeys(('doda', 'cmo+doda', 'ldam+doda', 'bcl+doda', 'ride+doda'), _FLIPS),
  **dict.fromkeys(
    ('cmo+cuda+fass', 'ldam+cmo+cuda+fass', 'ride+cuda', 'ride+cmo+cuda+fass', 'ldam+cmo+cuda',
     'ride+cmo+cuda'), _SHORT),
  'bcl_full': 'With a batch of 256 the 60 epochs are 120 steps at a learning rate of .15; with 180 '
  'epochs it learns (table "digits why").',
}  # fmt: skip


# rows of a method with one part changed
CONTROLS = (
  ("CAR, the paper's setting", 'car',
   {'terms.car.weight': 0.5, 'loss_args.car.r0': 0.2, 'signals.confusion.margin': 0.1,
    'signals.confusion.begin': 'zero'}),
  ('CAR, absent classes keep their column', 'car', {'signals.confusion.absent': 'keep'}),
)  # fmt: skip


def every_method() -> list:
  """Returns each method that needs no other run, other rows of tables 4 and 5, and the controls."""
  known = {name: row for name, row in method_rows().items() if 'classification' in row.tasks}
  names = {name: row.title.rstrip('.') for name, row in known.items()}
  for row in (*_THESIS['TABLES']['4']['rows'], *_THESIS['TABLES']['5']['rows']):
    names.setdefault(row.method, row.label.removeprefix('control: '))
  rows: list[tuple] = [
    (label, method, {})
    for method, label in names.items()
    if not any(name in known and known[name].needs_run for name in method.split('+'))
  ]
  return [_THESIS['Row'](*row) for row in (*rows, *CONTROLS)]


# blocks of chosen rows for the README: (table, labels of its rows; () is all that have figures)
BLOCKS: dict[str, tuple[str, tuple[str, ...]]] = {
  'readme_full': ('evidence', ()),
  'readme_small': (
    'small_cifar10',
    ('CE', 'w/o FASS: random mixes', 'FASS', 'CMO', 'logit adjustment', 'LDAM-DRW'),
  ),
}

# of the last epoch, in the unit of the label
_FIGURES = {
  'mae': 'MAE', 'many_mae': 'many', 'medium_mae': 'medium', 'few_mae': 'few', 'rmse': 'RMSE',
  'gm': 'GM', 'pearson': 'Pearson',
}  # fmt: skip
_OF_FIGURES = (
  'Mean over seeds, ± sd, of one split of the rows, in the unit of the label; many, medium and few '
  'are the MAE of test rows whose bin has many or few training rows. "Best MAE" is of the epoch '
  'with the lowest one, chosen on the test set.'
)
_REGRESSION: list[Any] = [
  ('plain, absolute error', 'l1', {}),
  ('weights 1 / sqrt(n)', 'sqinv', {}),
  ('weights 1 / n', 'inverse_labels', {}),
  ('LDS', 'lds', {}),
  ('FDS', 'fds', {}),
  ('LDS and FDS', 'lds+fds', {}),
  ('focal-R', 'focal_r', {}),
  ('RRT', 'rrt', {}),
  ('Balanced MSE', 'balanced_mse', {}),
]

TABLES = {
  'digits': {
    'title': 'Long-tailed digits (imbalance factor 20, ResNet-8, 60 epochs)',
    'config': 'configs/digits_lt.py',
    'rows': [
      ('CE', 'ce', {}),
      ('effective-number resampling', 'ens', {}),
      ('MixUp, both labels', 'mixup', {}),
      ('CutMix, both labels', 'cutmix', {}),
      ('w/o FASS: random partners and lambda', 'random_mix', {}),
      ('FASS, MixUp view alone', 'fass_mixup', {}),
      ('FASS, CutMix view alone', 'fass_cutmix', {}),
      ('FASS', _FASS, {}),
    ],
  },
  'digits_precision': {
    'title': 'Precision, on long-tailed digits (parameters, statistics and losses float32)',
    'config': 'configs/digits_lt.py',
    'rows': [
      ('CE, float32', 'ce', {'engine.precision': 'float32'}),
      ('CE, bfloat16', 'ce', {'engine.precision': 'bfloat16'}),
      ('FASS, float32', _FASS, {'engine.precision': 'float32'}),
      ('FASS, bfloat16', _FASS, {'engine.precision': 'bfloat16'}),
    ],
  },
  'digits_readings': {
    'title': 'Other readings of the thesis, on long-tailed digits',
    'config': 'configs/digits_lt.py',
    'rows': [
      ('FASS as it is', _FASS, {}),
      ('score: vector of own-class means', _FASS, {'signals.score.form': 'vector'}),
      ('score: pass over the set', _FASS, {'signals.score.source': 'pass'}),
      ('score: EMA, decay .9', _FASS, {'signals.score.decay': 0.9}),
      ('lambda at least .5', _FASS, {'streams.pair.lambda_min': 0.5}),
      ('lambda ~ Beta(1, 1)', _FASS, {'streams.pair.lam': 'beta'}),
      ('lambda = .5', _FASS, {'streams.pair.lam': 'fixed'}),
      ('random class, lambda of FASS', 'random_mix', {'streams.pair.lam': 'score'}),
      ('first epoch: random class, lambda .5', _FASS, {'streams.pair.start': 'on'}),
      ('one rebalanced stream', _FASS,
       {'streams.natural.sampler': 'effective_number', 'streams.pair.sampler': 'natural'}),
      ('1/E(n) as class probability', _FASS,
       {'streams.pair.sampler': 'effective_number_class'}),
      ('x_t drawn twice', _FASS, {'streams.pair.shared': False}),
      ('rho: Bernoulli per sample', _FASS, {'streams.pair.gate': 'bernoulli'}),
      ('rho: coin per batch', _FASS, {'streams.pair.gate': 'coin'}),
      ('rho = 1', _FASS, {'streams.pair.rho': 1.0}),
      ('L_FS divided by B', _FASS, {'terms.fs.divisor': 'batch'}),
      ('joint batch statistics', _FASS, {'forward': 'joint'}),
      ('last batch dropped', _FASS, {'last_batch': 'drop'}),
      ("the set's own mean and std", _FASS, {'data.statistics': 'own'}),
      ('learning rate .001 at both drops', _FASS,
       {'optim.schedule': ((0, 1.0), (0.8, 0.01), (0.9, 0.01))}),
    ],
  },
  'digits_why': {
    'title': 'Why some methods are under CE on the digits: less augmentation, longer runs, what is '
    'held out',
    'config': 'configs/digits_lt.py',
    'rows': [
      ('DODA without Cutout', 'doda', {'augment.cutout': False}),
      ('DODA, 180 epochs', 'doda', {'epochs': 180}),
      ('CMO+CUDA+FASS without Cutout', 'cmo+cuda+fass', {'augment.cutout': False}),
      ('CMO+CUDA+FASS, 180 epochs', 'cmo+cuda+fass', {'epochs': 180}),
      ('RIDE+CUDA without Cutout', 'ride+cuda', {'augment.cutout': False}),
      ('RIDE+CMO+CUDA+FASS without Cutout', 'ride+cmo+cuda+fass', {'augment.cutout': False}),
      ('BCL, strong recipe, 180 epochs', 'bcl_full', {'epochs': 180}),
      ('CE, a tenth held out', 'ce', {'data.held_out': 0.1}),
      ('tau-norm, tau = 1, nothing held out', 'tau_norm',
       {'classifier_args.tau': '1', 'data.held_out': 0.0}),
    ],
  },
  # the eight rows that the README shows are in it too, and are not run twice
  'digits_methods': {
    'title': 'Every method, on long-tailed digits (imbalance factor 20, ResNet-8, 60 epochs)',
    'config': 'configs/digits_lt.py',
    'rows': every_method(),
    'notes': NOTES,
    'remarks': (
      '`tau_norm` trains on what is not held out: 339 images for 383, with 4 medium- and 5 '
      'few-shot classes where the other rows have 5 and 4 (CE on as many, and tau-norm on all with '
      'tau = 1: table "digits why").',
      '`extrapolate` tests 7 of the 10 classes; 3 are auxiliary, with 114 images each. Its '
      'figures are not comparable with those of the other rows.',
      '`concutmix` and its two controls leave AutoAugment out here, which was chosen on the test '
      'accuracy of three seeds.',
      'Of a classifier that is fitted after training (`tau_norm`, `ncm`, `post_hoc`) "best" is the '
      'epoch that was best without it.',
    ),
  },
  'regression_diabetes': {
    'title': 'Imbalanced regression, on diabetes (442 rows, labels 25 to 346)',
    'config': 'configs/diabetes.py',
    'figures': _FIGURES,
    'rows': _REGRESSION,
    'remarks': (_OF_FIGURES,),
  },
  'regression_abalone': {
    'title': 'Imbalanced regression, on abalone (4,177 rows, 1 to 29 rings)',
    'config': 'configs/abalone.py',
    'figures': _FIGURES,
    'rows': _REGRESSION,
    'remarks': (_OF_FIGURES,),
  },
  **_EVIDENCE['TABLES'],
  **_THESIS['TABLES'],
  **_BAG['TABLES'],
}  # fmt: skip
