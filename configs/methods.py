"""The methods: each a delta over the plain recipe, combined with `+` in any order.

    python -m fass_jax.main --config=configs/cifar100_lt.py:fass

A delta sets dotted config keys; a stream, view, term or signal that it names comes into being
with the defaults of `fass_jax/config.py`. Two methods clash only where they set one key to two
values.
"""

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


def _label_mix(mix):
  """The natural view mixed inside its batch, one lambda a batch, with both labels."""
  return {
    'streams.natural.partner': 'permutation',
    'streams.natural.lam': 'batch_beta',
    'views.natural.mix': mix,
    'views.natural.label': 'mixed',
  }


METHODS = {
  # plain training
  'ce': {},
  # resampling by the effective number alone (Cui et al., CVPR 2019)
  'ens': {'streams.natural.sampler': 'effective_number'},
  # plain MixUp (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019)
  'mixup': _label_mix('mixup'),
  'cutmix': _label_mix('cutmix'),
  # FASS, and with one of its two views alone (the thesis' table 7)
  'fass': _SCORES | _PAIRS | _CHOSEN | _MIXUP | _CUTMIX | _separation('mixup', 'cutmix'),
  'fass_mixup': _SCORES | _PAIRS | _CHOSEN | _MIXUP | _separation('mixup'),
  'fass_cutmix': _SCORES | _PAIRS | _CHOSEN | _CUTMIX | _separation('cutmix'),
  # "w/o FASS" (its table 8): the same views, partners and lambda random
  'random_mix': _SCORES | _PAIRS | _RANDOM | _MIXUP | _CUTMIX | _separation('mixup', 'cutmix'),
}

# name: (what it is, reference, slots it fills); the README's method table is made from this
ABOUT = {
  'ce': ('cross-entropy', '-', 'nothing: the plain recipe'),
  'ens': ('effective-number resampling', 'Cui et al., CVPR 2019', 'sampler of the natural stream'),
  'mixup': ('MixUp with both labels', 'Zhang et al., ICLR 2018', 'mix of the natural view'),
  'cutmix': ('CutMix with both labels', 'Yun et al., ICCV 2019', 'mix of the natural view'),
  'fass': ('FASS', 'the thesis, 2025', 'score signal, pair stream, two views, term L_FS'),
  'fass_mixup': ('FASS, MixUp alone', "the thesis' table 7", 'as FASS, one view'),
  'fass_cutmix': ('FASS, CutMix alone', "the thesis' table 7", 'as FASS, one view'),
  'random_mix': (
    '"w/o FASS": random partners, lambda ~ Beta(1, 1)',
    "the thesis' table 8",
    'as FASS, another partner and ratio',
  ),
}
