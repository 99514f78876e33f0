"""The thesis' claim on real data: full-length runs, other readings of FASS, and small runs.

`configs/tables.py` takes the tables in. Rows of one table differ from each other by their label
alone; what all of them share stands in the table's title and overrides.
"""

from __future__ import annotations

import pathlib
import runpy
from typing import Any

_THESIS = runpy.run_path(str(pathlib.Path(__file__).with_name('thesis_tables.py')))
_Row = _THESIS['Row']

_COIN: dict[str, Any] = {'streams.pair.gate': 'coin'}
_VECTOR: dict[str, Any] = {'signals.score.form': 'vector'}


def _full_length() -> list[Any]:
  """Returns the full-length rows with the figures and bands that tables 4, 7 and 8 hold."""
  of = {
    name: {r.method: r for r in _THESIS['TABLES'][name]['rows'] if not r.overrides}
    for name in ('7', '8')
  }
  of['4'] = {
    r.method: r._replace(overrides={})
    for r in _THESIS['TABLES']['4']['rows']
    if r.overrides == {'imb_factor': 100.0}
  }
  fass = of['4']['fass']
  random = of['8']['random_mix']
  rows = [
    fass._replace(published={"thesis' tables 7 and 8": of['8']['fass'].thesis}),
    random._replace(label='w/o FASS: random class and lambda'),
    of['4']['ce'],
    of['4']['drw']._replace(label='CE-DRW'),
    of['4']['cmo'],
    of['4']['ldam'],
    of['7']['fass_mixup']._replace(label='FASS, MixUp view alone'),
    of['7']['fass_cutmix']._replace(label='FASS, CutMix view alone'),
  ]
  return [row._replace(rank=i) for i, row in enumerate(rows)]


def _in_order(*rows: tuple[Any, ...]) -> list[Any]:
  """Returns rows that run in the order in which they stand."""
  return [_Row(*row, rank=i) for i, row in enumerate(rows)]


_READINGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
  ('FASS as it is', 'fass', {}),
  ('rho: coin per batch', 'fass', _COIN),
  ('w/o FASS: random mixes', 'random_mix', {}),
  ('w/o FASS, coin per batch', 'random_mix', _COIN),
  ('L_FS divided by B', 'fass', {'terms.fs.divisor': 'batch'}),
  ('score: vector of own-class means', 'fass', _VECTOR),
  ('vector and coin', 'fass', _VECTOR | _COIN),
  ("FASS' class, lambda ~ Beta(1, 1)", 'fass', {'streams.pair.lam': 'beta'}),
  ('score: every forward pass, mixed images too', 'fass', {'signals.score.source': 'every'}),
)
_OTHER_READINGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
  ("random class, FASS' lambda", 'random_mix', {'streams.pair.lam': 'score'}),
  ('score: pass over the set', 'fass', {'signals.score.source': 'pass'}),
  ('score: EMA, decay .9', 'fass', {'signals.score.decay': 0.9}),
  ('lambda at least .5', 'fass', {'streams.pair.lambda_min': 0.5}),
  ('lambda = .5', 'fass', {'streams.pair.lam': 'fixed'}),
  ('joint batch statistics', 'fass', {'forward': 'joint'}),
  ('first epoch: random class, lambda .5', 'fass', {'streams.pair.start': 'on'}),
)
_VARIANTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
  ('FASS', 'fass', {}),
  ('w/o FASS: random mixes', 'random_mix', {}),
  ('target drawn from the row of S', 'fass', {'streams.pair.partner': 'score_drawn'}),
  ('S of temperature 2', 'fass', {'signals.score.temperature': 2.0}),
  ('S of temperature 4', 'fass', {'signals.score.temperature': 4.0}),
  (
    'S of held-out images, a tenth',
    'fass',
    {'signals.score.source': 'held_out', 'data.held_out': 0.1},
  ),
  ('S: EMA, decay .9', 'fass', {'signals.score.decay': 0.9}),
  ('lambda at least .5', 'fass', {'streams.pair.lambda_min': 0.5}),
  ('not trained where lambda < .5', 'fass', {'streams.pair.keep': 'majority'}),
  (
    'trained with probability 1 - S[y, y], L_FS divided by B',
    'fass',
    {'streams.pair.keep': 'confused', 'terms.fs.divisor': 'batch'},
  ),
  ('L_FS divided by B', 'fass', {'terms.fs.divisor': 'batch'}),
)
_CE: tuple[str, str, dict[str, Any]] = ('CE', 'ce', {})
_BESIDE: tuple[tuple[str, str, dict[str, Any]], ...] = (
  _CE,
  ('w/o FASS: random mixes', 'random_mix', {}),
  ('FASS', 'fass', {}),
  ('CMO', 'cmo', {}),
  ('logit adjustment', 'logit_adjustment', {}),
)
_BCL: tuple[str, str, dict[str, Any]] = ('BCL', 'bcl', {})
_SMALL = 'ResNet-8, 40 epochs, evaluated every fifth'
_SMALL_RUN: dict[str, Any] = {'net.depth': 8, 'epochs': 40, 'eval.every': 5}

TABLES: dict[str, dict[str, Any]] = {
  'evidence': {
    'title': 'The claim of the thesis: CIFAR-100-LT, IF 100, ResNet-32, 200 epochs',
    'config': 'configs/cifar100_lt.py',
    'thesis': True,
    'rows': _full_length(),
  },
  'short_readings': {
    'title': 'What of FASS does it? CIFAR-100-LT, IF 100, ResNet-32, 60 epochs, evaluated every '
    'fifth',
    'config': 'configs/cifar100_lt.py',
    'overrides': {'epochs': 60, 'eval.every': 5},
    'rows': _in_order(_CE, *_READINGS),
  },
  'small_cifar10': {
    'title': f'CIFAR-10-LT, IF 100, {_SMALL}',
    'config': 'configs/cifar10_lt.py',
    'overrides': _SMALL_RUN,
    'rows': _in_order(
      *_BESIDE,
      ('LDAM-DRW', 'ldam', {}),
      _BCL,
      ('CE-DRW', 'drw', {}),
      ('CUDA', 'cuda', {}),
      ('RIDE', 'ride', {}),
      ('FASS+LDAM', 'fass+ldam', {}),
      ('CMO+CUDA+FASS', 'cmo+cuda+fass', {}),
    ),
  },
  'small_cifar100': {
    'title': f'CIFAR-100-LT, IF 100, {_SMALL}',
    'config': 'configs/cifar100_lt.py',
    'overrides': _SMALL_RUN,
    'rows': _in_order(*_BESIDE, _BCL),
  },
  'small_readings': {
    'title': f'Readings of the thesis: CIFAR-10-LT, IF 100, {_SMALL}',
    'config': 'configs/cifar10_lt.py',
    'overrides': _SMALL_RUN,
    'rows': _in_order(_CE, *_READINGS, *_OTHER_READINGS),
  },
  'small_variants': {
    'title': f'Variants of FASS that the thesis does not have: CIFAR-10-LT, IF 100, {_SMALL}',
    'config': 'configs/cifar10_lt.py',
    'overrides': _SMALL_RUN,
    'rows': _in_order(*_VARIANTS),
  },
}
