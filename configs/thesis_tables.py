"""The thesis' tables 4, 5, 7, 8 and its two sweeps as runs, beside what was published.

`configs/tables.py` takes them in. All figures are top-1 on the test set in percent: those of the
thesis are transcribed from its tables, where FASS is called Ours; others have their source.
"[Re]CUDA logs" came with a reproduction of CUDA: best epochs, means of three runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Row(NamedTuple):
  """A row of a table: what is run, and what others got."""

  label: str  # as in the thesis, or what differs
  method: str
  overrides: dict[str, Any] = {}
  thesis: float | None = None
  published: dict[str, float | str] = {}  # by source
  band: tuple[float, float] | None = None  # where the best epoch should come out
  rank: int = 0  # lower is run earlier


FACTORS = (100, 50, 10)

# label, config string, then the figures in the thesis' order of columns: IF = 10, 50, 100
_TABLE_4 = (
  ('CE', 'ce', 56.5, 43.38, 38.1),
  ('CMO', 'cmo', 60.2, 47.0, 41.8),
  ('CUDA', 'cuda', 59.5, 46.2, 42.0),
  ('DODA', 'doda', 59.9, 48.0, 44.5),
  ('CMO+DODA', 'cmo+doda', 59.5, 49.3, 44.9),
  ('FASS', 'fass', 60.69, 47.70, 43.15),
  ('CMO+CUDA+FASS', 'cmo+cuda+fass', 61.92, 49.94, 45.06),
  ('LDAM', 'ldam', 57.5, 47.2, 43.2),
  ('LDAM+CUDA', 'ldam+cuda', 57.9, 50.8, 47.1),
  ('LDAM+DODA', 'ldam+doda', 57.9, 50.5, 48.3),
  ('LDAM+FASS', 'ldam+fass', 57.85, 48.22, 43.50),
  ('LDAM+CMO+CUDA+FASS', 'ldam+cmo+cuda+fass', 59.77, 52.23, 48.71),
  ('BCL', 'bcl', 58.9, 49.1, 44.2),
  ('BCL+CUDA', 'bcl+cuda', 62.6, 52.7, 48.8),
  ('BCL+DODA', 'bcl+doda', 62.7, 53.6, 51.0),
  ('BCL+FASS', 'bcl+fass', 63.29, 52.28, 47.20),
  ('RIDE', 'ride', 61.1, 52.2, 47.5),
  ('RIDE+CMO', 'ride+cmo', 60.1, 53.1, 50.0),
  ('RIDE+CUDA', 'ride+cuda', 59.9, 52.1, 49.6),
  ('RIDE+DODA', 'ride+doda', 60.8, 52.6, 50.2),
  ('RIDE+FASS', 'ride+fass', 62.79, 54.37, 50.91),
  ('RIDE+CMO+CUDA+FASS', 'ride+cmo+cuda+fass', 63.16, 55.78, 51.73),
)
_TABLE_5 = (
  ('CE', 'ce', 86.40, 74.80, 70.40),
  ('FASS', 'fass', 89.65, 80.98, 76.45),
  ('DRW+FASS', 'drw+fass', 90.30, 83.62, 78.76),
  ('LDAM+FASS', 'ldam+fass', 90.22, 83.33, 78.87),
)

_FASS_LAMBDA: dict[str, Any] = {'streams.pair.lam': 'score'}
# rows that the thesis lacks: label, config string, overrides
_RANDOM: tuple[Any, ...] = (
  ('control: MixUp + CutMix, random class and lambda', 'random_mix', {}),
  ("control: random class, FASS' lambda", 'random_mix', _FASS_LAMBDA),
)
_CONTROLS_4: tuple[Any, ...] = (
  *_RANDOM,
  ('control: CMO+CUDA', 'cmo+cuda', {}),
  ('control: LDAM+CMO+CUDA', 'ldam+cmo+cuda', {}),
  ('control: RIDE+CMO+CUDA', 'ride+cmo+cuda', {}),
  ('control: CE-DRW', 'drw', {}),
  ('control: CUDA without Cutout', 'cuda_plain', {}),
  ('control: Cutout alone', 'cutout', {}),
)
_CONTROLS_5: tuple[Any, ...] = (
  *_RANDOM,
  ('control: CE-DRW', 'drw', {}),
  ('control: LDAM', 'ldam', {}),
  ('control: CMO', 'cmo', {}),
  ('control: CMO+FASS', 'cmo+fass', {}),
)

# inside an IF: are the others' systems right; what is FASS worth; its combinations beside the
# same without it; then the rest as it stands above
_ORDER = (
  'ce', 'drw', 'ldam', 'cmo', 'cuda', 'ride', 'fass', 'random_mix', 'cmo+cuda+fass', 'cmo+cuda',
  'ldam+cmo+cuda+fass', 'ldam+cmo+cuda', 'ride+cmo+cuda+fass', 'ride+cmo+cuda', 'drw+fass',
  'ldam+fass', 'ride+fass',
)  # fmt: skip

# IF = 100, 50, 10; None where there is no run
_LOGS: dict[str, Sequence[float | str | None]] = {
  'ce': (38.49, 42.92, 56.61),
  'drw': (40.86, 46.22, 57.83),
  'ldam': (42.48, 47.15, 57.96),
  'cmo': (42.08, 46.93, 60.08),
  'cuda': (42.27, 46.91, 59.79),
  'cuda_plain': (40.06, 45.36, 58.21),
  'cutout': (None, 45.97, None),
  'cmo+cuda': ('43.01 (Cutout)', '48.14 (no Cutout)', 58.62),
  'ldam+cuda': (47.52, 50.57, 58.18),
  'ride': ('48.87 (Cutout), 47.40 (without)', 51.95, 59.13),
  'ride+cmo': (49.61, 52.78, 59.91),
  'ride+cuda': ('49.53, 49.27', 53.58, 61.21),
  'bcl+cuda': ('46.09 (no Cutout), 46.53 (Cutout, RandAugment)', None, None),
}
_OTHERS: dict[tuple[str, int], dict[str, float | str]] = {
  ('ce', 100): {'LDAM paper': 38.32, 'VS loss': 38.82, 'OpenLT': 40.3, 'RIDE model zoo': 39.1,
                'CMO paper': 38.6, 'replicates of CMO': '38.81, 38.46, 38.22'},
  ('ldam', 100): {'LDAM paper': 42.04, 'VS loss': 42.04, 'OpenLT': 42.9},
  ('ldam', 10): {'LDAM paper': 58.71},
  ('cmo', 100): {'CMO paper': 43.9, "CMO's author, rerun": '43.13, 42.63',
                 'replicates of CMO': '42.21, 41.72, 42.40'},
  ('ride', 100): {'RIDE paper': 48.0, 'RIDE model zoo': 48.6, 'copied in the CUDA papers': 48.6},
  ('ride', 50): {'copied in the CUDA papers': 51.4},
  ('ride', 10): {'copied in the CUDA papers': 59.8},
  ('ride+cmo', 100): {'CMO paper': 50.0},
  ('ride+cmo', 50): {'CMO paper': 53.0},
  ('ride+cmo', 10): {'CMO paper': 60.2},
  ('bcl', 100): {'BCL leaderboard (strong augmentation)': 53.9, 'DBM rerun': 50.23},
  ('bcl', 50): {'BCL leaderboard (strong augmentation)': 56.6, 'DBM rerun': 'about 55.4'},
  ('bcl', 10): {'DBM rerun (strong augmentation)': 64.98},
}  # fmt: skip
_OTHERS_5: dict[tuple[str, int], dict[str, float | str]] = {
  ('ce', 100): {'LDAM paper': 70.36, 'VS loss': 71.94, 'a user of LDAM-DRW': 73.17},
  ('ce', 50): {'class-balanced loss paper': 74.81, 'its reruns': '75.98, 77.45'},
  ('ce', 10): {'LDAM paper': 86.39},
  ('ldam', 100): {'LDAM paper': 77.03, 'VS loss': 77.03},
  ('ldam', 10): {'LDAM paper': 88.16},
}


def _about(figure: float, margin: float = 0.4) -> tuple[float, float]:
  """Returns the band of a target that is known as one figure."""
  return (round(figure - margin, 2), round(figure + margin, 2))


# IF = 100, 50, 10; best epoch
_BANDS = {
  'ce': ((38.2, 38.8), (42.9, 43.4), _about(56.5, 0.3)),
  'drw': (_about(40.9), _about(46.2), _about(57.8)),
  'ldam': ((42.0, 43.2), _about(47.2), (57.5, 58.7)),
  'cmo': ((41.7, 42.4), _about(46.9), _about(60.1)),
  'cuda': (_about(42.3), _about(46.9), _about(59.8)),
  'cuda_plain': (_about(40.1), _about(45.4), _about(58.2)),
  'ride': ((47.4, 48.9), _about(52.0), (59.1, 61.1)),
  'fass': ((43.15, 44.03), _about(47.70), _about(60.69)),
}
_BANDS_5 = {'ce': ((70.4, 71.9), (74.8, 77.5), _about(86.4))}


def _by_factor(thesis, controls, logs, others, bands) -> list[Row]:
  """Returns the rows of a table with a column for each imbalance factor, IF 100 first."""
  rows = []
  for i, factor in enumerate(FACTORS):
    lines = [(r[0], r[1], {}, r[2:][::-1][i]) for r in thesis] + [(*c, None) for c in controls]
    for label, method, overrides, figure in lines:
      published, band = {}, None
      if not overrides:
        log = logs[method][i] if method in logs else None
        published = others.get((method, factor), {}) | ({'[Re]CUDA logs': log} if log else {})
        band = bands[method][i] if method in bands else None
      rank = 100 * i + (_ORDER.index(method) if method in _ORDER else len(_ORDER))
      keys = {'imb_factor': float(factor), **overrides}
      rows.append(Row(label, method, keys, figure, published, band, rank))
  return rows


def _sweep(name: str, key: str, values: Sequence[float], best: float) -> list[Row]:
  """Returns a run for each value of a config key, the thesis' optimum first in time."""
  mark = {best: ", the thesis' optimum"}
  return [
    Row(f'{name} = {v}{mark.get(v, "")}', 'fass', {key: v}, rank=int(v != best)) for v in values
  ]


_TABLE_7 = [
  Row('Baseline', 'ce', {}, 37.06),
  Row('w/ CutMix', 'fass_cutmix', {}, 40.52),
  Row('w/ MixUp', 'fass_mixup', {}, 41.51),
  Row('w/ MixUp + CutMix', 'fass', {}, 44.03),
  Row('control: baseline on resampled images', 'ens'),
  Row('control: CutMix, random class and lambda', 'random_mix', {'terms.fs.views': ('cutmix',)}),
  Row('control: MixUp, random class and lambda', 'random_mix', {'terms.fs.views': ('mixup',)}),
  Row('control: MixUp + CutMix, random class and lambda', 'random_mix'),
  Row('control: plain CutMix, both labels', 'cutmix'),
  Row(
    'control: plain MixUp, both labels', 'mixup', {}, None,
    {'BagofTricks-LT': '40.34, 41.79', 'a user of BagofTricks-LT': '39.0, 39.8'},
  ),
]  # fmt: skip
_TABLE_8 = [
  Row('w/o FASS', 'random_mix', {}, 42.27),
  Row('w/ FASS', 'fass', {}, 44.03),
  Row("control: random class, FASS' lambda", 'random_mix', _FASS_LAMBDA),
  Row('control: random class, lambda = .5', 'random_mix', {'streams.pair.lam': 'fixed'}),
  Row("control: FASS' class, lambda ~ Beta(1, 1)", 'fass', {'streams.pair.lam': 'beta'}),
  Row('control: CE', 'ce'),
]

_TWO_FIGURES = (
  'The thesis prints 44.03 for FASS at IF 100 in its tables 7 and 8 and 43.15 for the same setting '
  'in table 4; its baseline is 37.06 in table 7 and 38.1 in table 4. So the gain is 6.97 or 5.05 '
  'points.'
)
_PROTOCOL = (
  'It states no seeds, no number of runs and not whether a figure is of the last or the best epoch.'
)
_TUNED = (
  'It was tuned on a validation set, says the thesis, which defines no such split; this table '
  'is measured on the test set.'
)
_REMARKS_4 = (
  _TWO_FIGURES,
  _PROTOCOL,
  'Its text credits 51.73 at IF 100 to FASS with RIDE. That is the row RIDE+CMO+CUDA+FASS; '
  'RIDE+FASS is 50.91.',
  'Its text claims a clear advantage over other systems. In the table DODA is ahead of FASS at '
  'IF 50 and 100, LDAM+CUDA and LDAM+DODA of LDAM+FASS at every IF, and BCL+CUDA and BCL+DODA of '
  'BCL+FASS at IF 50 and 100.',
  'It has no CMO+CUDA, LDAM+CMO+CUDA or RIDE+CMO+CUDA without FASS and no mixing with random '
  'partners, so the share of FASS in its gains cannot be read from it; the rows "control" add '
  'these.',
  'Its LDAM figures are those of LDAM-DRW, which `ldam` is. Its BCL figures are 6 to 8 points '
  "under BCL's own, because they come from runs with weak augmentation, which `bcl` repeats.",
  'It does not say whether Cutout is on with CUDA and DODA; here it is, and "CUDA without Cutout" '
  'is a row of its own.',
  'No run of FASS by others exists: the bands of FASS are the figures of the thesis itself.',
)
_REMARKS_5 = (
  'Its text says that FASS gains about 3.5 points at IF 100; the table gives 76.45 - 70.40 = 6.05.',
  'Its text speaks of a combination with CMO, which the table lacks; the rows "control" add it.',
  'Its CE figures are those that were published in 2019 (86.39, 74.81, 70.36), rounded, so they '
  'were probably copied. Reruns of CE come out higher by up to 3 points, which makes the gain '
  'smaller.',
  _PROTOCOL,
)
_REMARKS_7 = (
  _TWO_FIGURES,
  'It does not say whether the baseline, which is lower than CE in table 4, trains on the natural '
  'or on the resampled images; both are rows here.',
  'It has no row that mixes the same views without FASS; the rows "control" add them.',
)
_REMARKS_8 = (
  'It prints 44.03 (+2.24), but 44.03 - 42.27 = 1.76; a gain of 2.24 would need 41.79.',
  '42.27 is above both single mixes of its table 7 (40.52, 41.51), so "w/o FASS" must still mix '
  'MixUp and CutMix under the single label. Whether its lambda is random or fixed is not stated; '
  'both are rows here.',
  _TWO_FIGURES,
)

_CIFAR_100 = {'config': 'configs/cifar100_lt.py', 'thesis': True}
_AT_100 = ', CIFAR-100-LT, IF 100, ResNet-32'
TABLES: dict[str, dict[str, Any]] = {
  '4': _CIFAR_100
  | {
    'title': "The thesis' table 4: CIFAR-100-LT, ResNet-32",
    'rows': _by_factor(_TABLE_4, _CONTROLS_4, _LOGS, _OTHERS, _BANDS),
    'by': 'imb_factor',
    'remarks': _REMARKS_4,
  },
  '5': {
    'title': "The thesis' table 5: CIFAR-10-LT, ResNet-32",
    'config': 'configs/cifar10_lt.py',
    'thesis': True,
    'rows': _by_factor(_TABLE_5, _CONTROLS_5, {}, _OTHERS_5, _BANDS_5),
    'by': 'imb_factor',
    'remarks': _REMARKS_5,
  },
  '7': _CIFAR_100
  | {
    'title': f"The thesis' table 7: MixUp and CutMix{_AT_100}",
    'rows': _TABLE_7,
    'remarks': _REMARKS_7,
  },
  '8': _CIFAR_100
  | {
    'title': f"The thesis' table 8: with and without FASS{_AT_100}",
    'rows': _TABLE_8,
    'remarks': _REMARKS_8,
  },
  'alpha': _CIFAR_100
  | {
    'title': f"The thesis' figure 3: weight alpha of L_FS{_AT_100}",
    'rows': _sweep('alpha', 'terms.fs.weight', (0.2, 0.4, 0.6, 0.8, 1.0, 1.2), 0.8),
    'remarks': ('The figure is an image; its text names the optimum alone. ' + _TUNED,),
  },
  'rho': _CIFAR_100
  | {
    'title': f"The thesis' figure 4: share rho of the batch that FASS mixes{_AT_100}",
    'rows': _sweep('rho', 'streams.pair.rho', (0.1, 0.3, 0.5, 0.7, 1.0), 0.3),
    'remarks': ('The figure is an image; its text names the optimum alone. ' + _TUNED,),
  },
}
