"""The long-tail families as methods: re-weighting, re-sampling, logit adjustment, decoupling, BBN.

`configs/methods.py` takes them in. A delta sets dotted config keys; ABOUT says of each what it is,
where it comes from and which slots it fills.
"""

# class weights from the first epoch on
_FROM_THE_START = {'reweight.share': ((0, 1.0),)}
_INVERSE = {'reweight.kind': 'inverse', 'reweight.power': 1.0}
_DEFERRED = {'reweight.share': ((0, 0.0), (0.8, 1.0))}
_EFFECTIVE = {'reweight.kind': 'effective_number'}
# a loss of sigmoids begins at the prior 1 / C, with a bias that does not decay
_SIGMOIDS = {'net.head': 'linear_prior', 'optim.undecayed': ('*/linear/bias',)}


def _sampled(name):
  return {'streams.natural.sampler': name}


def _stage(name, delta):
  """A stage that follows, with what it sets."""
  return {f'stages.{name}.{key}': value for key, value in delta.items()}


def _classifier(epochs, parts, **sets):
  """A second stage that trains parts of the head on the frozen rest, batch statistics too.

  Args:
    epochs: as a share of the first stage.
    parts: of the network, which train.
    **sets: further keys of the stage, '__' for a dot.
  """
  delta = {
    'epochs': epochs,
    'optim.only': parts,
    'optim.curve': 'cosine',
    'optim.warmup_epochs': 0.0,
    **{key.replace('__', '.'): value for key, value in sets.items()},
  }
  return _stage('classifier', delta)


METHODS = {
  # re-weighting: by 1 / n and its root, from the start and deferred
  'inverse': _INVERSE | _FROM_THE_START,
  'inverse_sqrt': _INVERSE | _FROM_THE_START | {'reweight.power': 0.5},
  'drw_inverse': _INVERSE | _DEFERRED,
  # the three bases of the class-balanced loss: softmax is `cb`, these are sigmoid and focal
  'cb_sigmoid': _EFFECTIVE | _FROM_THE_START | _SIGMOIDS | {'loss': 'sigmoid'},
  'cb_focal': _EFFECTIVE | _FROM_THE_START | _SIGMOIDS | {'loss': 'focal_sigmoid'},
  'focal': {'loss': 'focal'},
  'focal_sigmoid': _SIGMOIDS | {'loss': 'focal_sigmoid'},
  'label_smoothing': {'loss': 'label_smoothing'},
  # the pairwise-margin family
  'logit_adjustment': {'loss': 'logit_adjustment'},
  'weighted_la': {'loss': 'weighted_la'},
  'la_adaptive': {'loss': 'la_adaptive'},
  # equal rates of 1 are logit adjustment; half the rate on the others' priors is another loss
  'two_rate': {'loss': 'two_rate', 'loss_args.two_rate.tau2': 0.5},
  'equalised': {'loss': 'equalised'},
  'cdt': {'loss': 'cdt'},
  # ranges inside the classes of P x K batches, half a batch beside the natural one
  'range': {
    'streams.groups.sampler': 'groups',
    'streams.groups.images': 4,
    'streams.groups.rho': 0.5,
    'views.groups.stream': 'groups',
    'terms.range.views': ('groups',),
    'terms.range.loss': 'range',
    'terms.range.weight': 0.01,
  },
  # re-sampling
  'class_balanced': _sampled('class_balanced'),
  'square_root': _sampled('square_root'),
  'progressive': _sampled('progressive'),
  'reversed': _sampled('reversed'),
  'drs': _sampled('power'),
  # a natural image beside one of the reversed sampler, with both labels
  'bbn_mixup': {
    'streams.natural.partner': 'reversed',
    'streams.natural.lam': 'batch_beta',
    'views.natural.mix': 'mixup',
    'views.natural.label': 'mixed',
  },
  # decoupling: the classifier once more, on the features of the finished first stage
  'crt': _classifier(
    0.1, ('head',), start__fresh=('head',), streams__natural__sampler='class_balanced'
  ),
  'lws': _classifier(
    0.05, ('*/class_scale',), net__class_scale=True, streams__natural__sampler='class_balanced'
  ),
  'cb_head': _classifier(
    0.1, ('head',), reweight__kind='effective_number', reweight__share=((0, 1.0),)
  ),
  # at a low rate on class-balanced samples, of which so many are new images that the classes are
  # balanced: what the network of the first stage sees them in is moved
  'cam_drs': _stage(
    'deferred',
    {
      'epochs': 0.25,
      'streams.natural.sampler': 'class_balanced',
      'augment.cam': True,
      'teacher.run': 'previous',
      'optim.curve': 'steps',
      'optim.schedule': ((0, 0.01), (0.5, 0.0001)),
      'optim.warmup_epochs': 0.0,
    },
  ),
  # a network anew, taught by that of the first stage, whose predictions are flattened
  'dive': {'loss': 'balanced_softmax'}
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
  # test-time classifiers of a trained network
  'tau_norm': {'classifier': 'tau_norm', 'data.held_out': 0.1},
  'ncm': {'classifier': 'ncm'},
  'post_hoc': {'classifier': 'post_hoc'},
  # two branches that share all but the last block, and cumulative learning
  'bbn': {
    'net.experts': 2,
    'net.reduced': False,
    'net.branch': 'block',
    'streams.reversed.sampler': 'reversed',
    'views.reversed.stream': 'reversed',
    'terms.natural.views': ('natural', 'reversed'),
    'terms.natural.loss': 'bbn',
    'optim.nesterov': True,
    'optim.schedule': ((0, 1.0), (0.6, 0.01), (0.8, 0.0001)),
  },
}

_CUI = 'Cui et al., CVPR 2019'
_MENON = 'Menon et al., ICLR 2021'
_KANG = 'Kang et al., ICLR 2020'
_ZHOU = 'Zhou et al., CVPR 2020'
_TRICKS = 'Zhang et al., AAAI 2021'
_SAMPLER = 'sampler of the natural stream'
ABOUT = {
  'inverse': ('weights 1 / n', 'Huang et al., CVPR 2016', 'class weights'),
  'inverse_sqrt': ('weights 1 / sqrt(n)', 'Mahajan et al., ECCV 2018', 'class weights'),
  'drw_inverse': (
    'weights 1 / n in the last fifth',
    'Cao et al., NeurIPS 2019',
    'class weights',
  ),
  'cb_sigmoid': ('class-balanced sigmoid loss', _CUI, 'loss, class weights, head'),
  'cb_focal': ('class-balanced focal loss (sigmoids)', _CUI, 'loss, class weights, head'),
  'focal': ('focal loss of the softmax', 'Lin et al., ICCV 2017', 'loss'),
  'focal_sigmoid': ('focal loss of sigmoids', 'Lin et al., ICCV 2017', 'loss, head'),
  'label_smoothing': ('label smoothing', 'Szegedy et al., CVPR 2016', 'loss'),
  'logit_adjustment': ('logit adjustment in the loss', _MENON, 'loss'),
  'weighted_la': ('logit adjustment with weights pi^(tau - 1)', _MENON, 'loss'),
  'la_adaptive': ('logit adjustment with a margin pi^(-1/4)', _MENON, 'loss'),
  'two_rate': ('pairwise margins with a rate for each of the two priors', _MENON, 'loss'),
  'equalised': ('equalised loss', 'Tan et al., CVPR 2020', 'loss'),
  'cdt': ('class-dependent temperatures', 'Ye et al., 2020', 'loss'),
  'range': ('range loss on P x K batches', 'Zhang et al., ICCV 2017', 'stream, view, term'),
  'class_balanced': ('class-balanced sampling', _KANG, _SAMPLER),
  'square_root': ('square-root sampling', _KANG, _SAMPLER),
  'progressive': ('progressively balanced sampling', _KANG, _SAMPLER),
  'reversed': ('reversed sampling', _ZHOU, _SAMPLER),
  'drs': ('class-balanced sampling in the last fifth', 'Cao et al., NeurIPS 2019', _SAMPLER),
  'bbn_mixup': (
    'MixUp of natural and reversed samples',
    _TRICKS,
    'partner, ratio and mix of the natural view',
  ),
  'crt': ('cRT: the head anew, on balanced samples', _KANG, 'second stage'),
  'lws': ('LWS: a learned scale for each class', _KANG, 'second stage, head'),
  'cb_head': (
    'the head once more, with class-balanced weights',
    'Alshammari et al., CVPR 2022',
    'second stage, class weights',
  ),
  'cam_drs': (
    'deferred class-balanced sampling with new images, made by class activation maps',
    _TRICKS,
    'second stage with a teacher, sampler, augmentation',
  ),
  'dive': (
    'DiVE: distillation of a balanced softmax, teacher flattened',
    'He et al., ICCV 2021',
    'loss, second stage with a teacher, term',
  ),
  'tau_norm': (
    'tau-normalised classifier, tau from a tenth that is held out',
    _KANG,
    'classifier, held-out images',
  ),
  'ncm': ('nearest class mean', _KANG, 'classifier'),
  'post_hoc': ('logit adjustment after training', _MENON, 'classifier'),
  'bbn': ('BBN: two branches, cumulative learning', _ZHOU, 'stream, view, loss, branches'),
}
