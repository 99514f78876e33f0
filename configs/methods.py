"""The methods: each a delta over the plain recipe, combined with `+` in any order.

    python -m fass_jax.main --config=configs/cifar100_lt.py:fass

A delta sets dotted config keys; a stream, view, term or signal that it names comes into being
with the defaults of `fass_jax/config.py`. Two methods clash only where they set one key to two
values. The families of long-tail methods (re-weighting, re-sampling, ...) are in families.py.
"""

import pathlib
import runpy

_FAMILIES = runpy.run_path(str(pathlib.Path(__file__).with_name('families.py')))

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


# the settings of BCL's followers for CIFAR, beyond the method itself (`bcl_full`)
_STRONG = {
  'batch_size': 256,
  'optim.lr': 0.15,
  'optim.weight_decay': 5e-4,
  'optim.schedule': ((0, 1.0), (0.8, 0.1), (0.9, 0.01)),
  'augment.autoaugment': True,
  'augment.cutout': True,
}
# class weights by the effective number of samples, from the start or deferred to the last fifth of
# the run (DRW); all keys are named, so that two methods that differ in one clash
_WEIGHTS = {'reweight.kind': 'effective_number', 'reweight.share': ((0, 0.0), (0.8, 1.0))}
_COSINE = {'net.head': 'cosine'}


def _contrast(*views):
  """Two strongly augmented views of the natural stream, in one pass with the natural view."""
  delta: dict = {'views.natural.group': 'contrast'}
  for draw, name in enumerate(views, 1):
    delta |= {
      f'views.{name}.stream': 'natural',
      f'views.{name}.augment': ('simclr',),
      f'views.{name}.draw': draw,
      f'views.{name}.group': 'contrast',
    }
  return delta


_BCL = (
  _COSINE
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

METHODS = {
  # plain training
  'ce': {},
  # resampling by the effective number alone (Cui et al., CVPR 2019)
  'ens': {'streams.natural.sampler': 'effective_number', 'streams.natural.beta': 0.0},
  # as LDAM's comparison does it: beta .9999 from the start
  'cb_resample': {
    'streams.natural.sampler': 'effective_number',
    'streams.natural.beta': 0.9999,
  },
  # plain MixUp (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019)
  'mixup': _label_mix('mixup'),
  'cutmix': _label_mix('cutmix'),
  # MixUp of the features before the head (Verma et al., ICML 2019, at one layer)
  'manifold_mixup': _label_mix('manifold'),
  # class weights: from the start (Cui et al., CVPR 2019) and deferred (Cao et al., NeurIPS 2019)
  'cb': {'reweight.kind': 'effective_number', 'reweight.share': ((0, 1.0),)},
  'drw': _WEIGHTS,
  'ldam': _WEIGHTS | _COSINE | {'loss': 'ldam'},
  'ldam_plain': _COSINE | {'loss': 'ldam'},
  'balanced_softmax': {'loss': 'balanced_softmax'},
  # CutMix with class-uniform foregrounds, every second batch (Park et al., CVPR 2022)
  'cmo': {
    'streams.natural.partner': 'class_uniform',
    'streams.natural.lam': 'batch_beta',
    'streams.natural.chance': ((0, 0.0), (0.02, 0.5), (0.985, 0.0)),
    'views.natural.mix': 'cutmix_batch',
    'views.natural.label': 'mixed',
  },
  # ops whose number follows what each class bears (Ahn et al., ICLR 2023), with Cutout as theirs
  'cuda': {'signals.levels.kind': 'levels', 'augment.cuda': True, 'augment.cutout': True},
  'cuda_plain': {'signals.levels.kind': 'levels', 'augment.cuda': True},
  # one op a class, drawn by learned weights (Wang et al., ICLR 2024), with Cutout as theirs
  'doda': {'signals.ops.kind': 'op_weights', 'augment.doda': True, 'augment.cutout': True},
  'cutout': {'augment.cutout': True},
  'autoaugment': {'augment.autoaugment': True},
  'randaugment': {'augment.randaugment': True},
  # balanced contrast (Zhu et al., CVPR 2022) with the weak recipe of the comparisons, and with
  # the strong one of Zhu et al.'s followers
  'bcl': _BCL,
  'bcl_full': _BCL | _STRONG,
  # three experts that differ (Wang et al., ICLR 2021), with their optimiser and rotation
  'ride': _WEIGHTS
  | _COSINE
  | {
    'loss': 'ride',
    'net.experts': 3,
    'optim.nesterov': True,
    'optim.weight_decay': 5e-4,
    'augment.rotation15': True,
  },
  # the optional second stage of RIDE: a router on top of a finished run (--config.start.run)
  'ride_router': _COSINE
  | {
    'loss': 'router',
    'net.experts': 3,
    'net.router': True,
    'optim.only': ('head/router',),
    'streams.natural.sampler': 'class_balanced',
    'epochs': 5,
    'batch_size': 512,
    'optim.lr': 0.01,
    'optim.curve': 'cosine',
    'optim.nesterov': True,
    'optim.weight_decay': 5e-4,
    'augment.rotation15': True,
  },
  # a finished run teaches (--config.teacher.run), with the longer warm-up of RIDE's recipe
  'distill': {
    'terms.distill.views': ('natural',),
    'terms.distill.loss': 'distillation',
    'optim.warmup_epochs': 20.0,
    'optim.warmup_fraction': 0.1,
  },
  # FASS, and with one of its two views alone (the thesis' table 7)
  'fass': _SCORES | _PAIRS | _CHOSEN | _MIXUP | _CUTMIX | _separation('mixup', 'cutmix'),
  'fass_mixup': _SCORES | _PAIRS | _CHOSEN | _MIXUP | _separation('mixup'),
  'fass_cutmix': _SCORES | _PAIRS | _CHOSEN | _CUTMIX | _separation('cutmix'),
  # "w/o FASS" (its table 8): the same views, partners and lambda random
  'random_mix': _SCORES | _PAIRS | _RANDOM | _MIXUP | _CUTMIX | _separation('mixup', 'cutmix'),
  **_FAMILIES['METHODS'],
}

# methods that go on from the work directory of another run
NEED_A_RUN = frozenset({'distill', 'ride_router'})

# name: (what it is, reference, slots it fills); the README's method table is made from this
ABOUT = {
  'ce': ('cross-entropy', '-', 'nothing: the plain recipe'),
  'ens': ('effective-number resampling', 'Cui et al., CVPR 2019', 'sampler of the natural stream'),
  'cb_resample': (
    'class-balanced resampling, beta .9999',
    'Cao et al., NeurIPS 2019',
    'sampler of the natural stream',
  ),
  'mixup': ('MixUp with both labels', 'Zhang et al., ICLR 2018', 'mix of the natural view'),
  'cutmix': ('CutMix with both labels', 'Yun et al., ICCV 2019', 'mix of the natural view'),
  'manifold_mixup': (
    'Manifold MixUp of the features before the head',
    'Verma et al., ICML 2019',
    'mix of the natural view',
  ),
  'cb': ('class-balanced weights', 'Cui et al., CVPR 2019', 'class weights'),
  'drw': ('CE-DRW: weights in the last fifth', 'Cao et al., NeurIPS 2019', 'class weights'),
  'ldam': ('LDAM-DRW', 'Cao et al., NeurIPS 2019', 'loss, cosine head, class weights'),
  'ldam_plain': ('LDAM without weights', 'Cao et al., NeurIPS 2019', 'loss, cosine head'),
  'balanced_softmax': ('balanced softmax', 'Ren et al., NeurIPS 2020', 'loss'),
  'cmo': ('CMO', 'Park et al., CVPR 2022', 'partner, ratio and mix of the natural view'),
  'cuda': ('CUDA, with Cutout', 'Ahn et al., ICLR 2023', 'level signal, augmentation'),
  'cuda_plain': ('CUDA without Cutout', 'Ahn et al., ICLR 2023', 'level signal, augmentation'),
  'doda': ('DODA, with Cutout', 'Wang et al., ICLR 2024', 'op-weight signal, augmentation'),
  'cutout': ('Cutout', 'DeVries and Taylor, 2017', 'augmentation'),
  'autoaugment': ('AutoAugment, CIFAR policy', 'Cubuk et al., CVPR 2019', 'augmentation'),
  'randaugment': ('RandAugment', 'Cubuk et al., NeurIPS 2020', 'augmentation'),
  'bcl': ('BCL', 'Zhu et al., CVPR 2022', 'two views, contrastive term, projection, loss'),
  'bcl_full': (
    'BCL with AutoAugment, Cutout, batch 256',
    'Zhu et al., CVPR 2022',
    'as BCL, augmentation, optimiser',
  ),
  'ride': ('RIDE, three experts', 'Wang et al., ICLR 2021', 'loss, experts, optimiser, rotation'),
  'ride_router': (
    'router of a finished RIDE: easy images ask fewer experts',
    'Wang et al., ICLR 2021',
    'start, trained part, router loss, sampler, optimiser',
  ),
  'distill': (
    'distillation from a finished run; `ride+distill` is distilled RIDE',
    'Hinton et al., 2015; Wang et al., ICLR 2021',
    'teacher, term, warm-up',
  ),
  'fass': ('FASS', 'the thesis, 2025', 'score signal, pair stream, two views, term L_FS'),
  'fass_mixup': ('FASS, MixUp alone', "the thesis' table 7", 'as FASS, one view'),
  'fass_cutmix': ('FASS, CutMix alone', "the thesis' table 7", 'as FASS, one view'),
  'random_mix': (
    '"w/o FASS": random partners, lambda ~ Beta(1, 1)',
    "the thesis' table 8",
    'as FASS, another partner and ratio',
  ),
  **_FAMILIES['ABOUT'],
}
