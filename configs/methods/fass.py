"""FASS, the method of the thesis, with its ablations and its control."""

from fass_jax.config import Method

FAMILY = 'FASS'

# S, and pairs (x_b, x_t) of effective-number-rebalanced images and their partners
_SCORES = {'signals.score.kind': 'score_matrix'}
_PAIRS = {
  'streams.pair.sampler': 'effective_number',
  'streams.pair.rho': 0.3,
  'streams.pair.start': 'skip',
}
_CHOSEN = {'streams.pair.partner': 'score', 'streams.pair.lam': 'score'}
_RANDOM = {'streams.pair.partner': 'random', 'streams.pair.lam': 'beta'}
_MIXUP = {'views.mixup.stream': 'pair', 'views.mixup.mix': 'mixup'}
_CUTMIX = {'views.cutmix.stream': 'pair', 'views.cutmix.mix': 'cutmix'}


def _separation(*views):
  """L_FS over these views with weight alpha = 0.8."""
  return {'terms.fs.views': views, 'terms.fs.weight': 0.8}


METHODS = {
  'fass': Method(
    _SCORES | _PAIRS | _CHOSEN | _MIXUP | _CUTMIX | _separation('mixup', 'cutmix'),
    'FASS: MixUp and CutMix with the class that each is most confused with.',
    'the thesis, 2025',
    'score signal, pair stream, two views, term L_FS',
  ),
  # the thesis' table 7
  'fass_mixup': Method(
    _SCORES | _PAIRS | _CHOSEN | _MIXUP | _separation('mixup'),
    'FASS with its MixUp view alone.',
    "the thesis' table 7",
    'as fass, one view',
  ),
  'fass_cutmix': Method(
    _SCORES | _PAIRS | _CHOSEN | _CUTMIX | _separation('cutmix'),
    'FASS with its CutMix view alone.',
    "the thesis' table 7",
    'as fass, one view',
  ),
  # "w/o FASS" of the thesis' table 8: the same views, partners and lambda random
  'random_mix': Method(
    _SCORES | _PAIRS | _RANDOM | _MIXUP | _CUTMIX | _separation('mixup', 'cutmix'),
    '"w/o FASS": random partners and lambda ~ Beta(1, 1).',
    "the thesis' table 8",
    'as fass, another partner and ratio',
  ),
}
