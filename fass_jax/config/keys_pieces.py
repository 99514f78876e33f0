"""The keys of streams, views, terms and signals: what one that a config or method adds starts from.

A stream draws images and their partners, a view shows a stream augmented and mixed, a term applies
a loss to views, and a signal is a piece with memory.
"""

from __future__ import annotations

from fass_jax.config.key import Key

STREAM_KEYS: dict[str, Key] = {
  'sampler': Key('permutation', 'How images are drawn.', table='samplers'),
  'beta': Key(
    0.0,
    'Beta of the effective number of samples; 0 stands for (N - 1) / N (Eq. 2).',
    at_least=0,
    below=1,
    of=('effective_number', 'effective_number_class'),
    hint='; 0 stands for (N - 1) / N',
  ),
  'power': Key(
    ((0, 1.0), (0.8, 0.0)),
    'Draw class c with a share of n_c^q, q over time; the default balances the last fifth.',
    schedule=True,
    of=('power',),
  ),
  'images': Key(2, 'Images of each class in a P x K batch (K).', at_least=1, of=('groups',)),
  'rho': Key(
    1.0,
    'Share of the batch that is drawn and mixed.',
    above=0,
    at_most=1,
    hint='; it is a share of the batch',
  ),
  'gate': Key(
    'first',
    "What rho means: 'first' draws ceil(rho B) samples, 'bernoulli' tosses a coin per sample, "
    "'coin' one per batch.",
    choices=('first', 'bernoulli', 'coin'),
  ),
  'start': Key(
    'on',
    "The first epoch: 'skip' leaves the stream out; 'on' mixes with random partners and lambda .5 "
    'until there are scores.',
    choices=('on', 'skip'),
  ),
  'partner': Key(
    'none',
    'Which image is mixed in.',
    choices=('none',),
    table='partners',
  ),
  'lam': Key('score', 'How the mixing ratio lambda is set.', table='ratios'),
  'lambda_min': Key(0.0, "Lower bound of the ratio 'score'.", at_least=0, at_most=1, of=('score',)),
  'keep': Key(
    'all',
    "Which mixed images are trained: 'all', each with probability 1 - S[y, y] ('confused'), or "
    "those with lambda of at least .5 ('majority').",
    table='keeps',
  ),
  'lam_alpha': Key(1.0, 'Draw lambda from Beta(alpha, alpha).', above=0, of=('beta', 'batch_beta')),
  'lam_value': Key(0.5, "Lambda of the ratio 'fixed'.", at_least=0, at_most=1, of=('fixed',)),
  'chance': Key(
    ((0, 1.0),),
    'Probability that a batch is mixed, over time.',
    at_least=0,
    at_most=1,
    schedule=True,
  ),
  'shared': Key(True, 'Use one partner image for all views of the stream, not one per view.'),
}

VIEW_KEYS: dict[str, Key] = {
  'stream': Key('natural', 'The stream whose images the view shows.', table='streams'),
  'mix': Key(
    'none',
    "How images and partners are mixed: 'cutmix_batch' cuts one box per batch, 'manifold' mixes "
    'features.',
    choices=('none',),
    table='mixes',
  ),
  'label': Key(
    'single',
    "Label of a mixed image: 'single' is its own class alone (Eq. 8a), 'mixed' both by their area.",
    table='labels',
  ),
  'augment': Key((), "Augmentations in place of the run's; () keeps those.", table='ops'),
  'draw': Key(
    0, 'Views of one stream with equal augmentations and equal draw see the same pixels.'
  ),
  'group': Key(
    '', "Views of one group share a forward pass and its batch statistics; '' is a pass of its own."
  ),
}

TERM_KEYS: dict[str, Key] = {
  'views': Key(('natural',), 'The views that the loss sees.', table='views'),
  'loss': Key(
    'host', "The loss; 'host' is the loss of the run.", choices=('host',), table='losses'
  ),
  'weight': Key(1.0, 'Factor of the term in the total loss (Eq. 9).', schedule=True),
  'divisor': Key(
    'weights',
    "What the sum over samples is divided by: 'weights' gives their mean, 'batch' divides by B.",
    choices=('weights', 'batch'),
  ),
}

SIGNAL_KEYS: dict[str, Key] = {
  'kind': Key(
    'score_matrix',
    "What is remembered: 'score_matrix' (FASS), 'levels' (CUDA), 'op_weights' (DODA), "
    "'confusion' (CAR) or 'fds' (FDS).",
    table='signals',
  ),
  'view': Key('natural', 'The view that the signal watches.', table='views of terms'),
  'form': Key(
    'matrix',
    "Form of the scores: 'matrix' is C x C, 'vector' the own-class means alone (an ablation).",
    choices=('matrix', 'vector'),
    of=('score_matrix',),
  ),
  'source': Key(
    'running',
    "Where scores or statistics come from: 'running' training passes of the view or of 'every' "
    "view, or a 'pass' after each epoch, or one over 'held_out' images.",
    choices=('running', 'every', 'pass', 'held_out'),
    of=('score_matrix', 'fds'),
  ),
  'kernel': Key(
    'gaussian',
    'Window over neighbouring bins.',
    choices=('gaussian', 'triang', 'laplace'),
    of=('fds',),
  ),
  'size': Key(5, 'Bins of the window, odd.', at_least=1, of=('fds',)),
  'sigma': Key(2.0, 'Width of the window, in bins.', above=0, of=('fds',)),
  'momentum': Key(
    0.9,
    'Weight of older epochs in the statistics; 1 is the mean over all epochs.',
    at_least=0,
    at_most=1,
    of=('fds',),
  ),
  'clip': Key(
    (0.1, 10.0), 'Bounds of the ratio of smoothed and own variance.', above=0, of=('fds',)
  ),
  'order': Key(
    'code',
    "'code' smooths the statistics of one epoch before, as the published program; 'paper' the "
    'newest.',
    choices=('code', 'paper'),
    of=('fds',),
  ),
  'decay': Key(
    0.0,
    "Weight of older epochs, of a 'confusion' of older steps (EMA); 0 forgets them.",
    at_least=0,
    below=1,
    of=('score_matrix', 'confusion'),
  ),
  'temperature': Key(1.0, 'Temperature of the softmax.', above=0, of=('score_matrix', 'confusion')),
  'margin': Key(0.0, 'Added to the difference of two logits.', of=('confusion',)),
  'gate_gradient': Key(False, 'Let the gradient pass the sigmoid too.', of=('confusion',)),
  'absent': Key(
    'zero',
    "Classes that a batch lacks: their column moves to 'zero', or they 'keep' it.",
    choices=('zero', 'keep'),
    of=('confusion',),
  ),
  'begin': Key(
    'first',
    "A column begins with its 'first' batch, without gradient, or at 'zero'.",
    choices=('first', 'zero'),
    of=('confusion',),
  ),
  'chance': Key(
    0.5,
    'Probability that an image is augmented.',
    at_least=0,
    at_most=1,
    of=('levels', 'op_weights'),
  ),
  'accept': Key(
    0.6,
    'Share of right probes above which a class rises a level.',
    at_least=0,
    at_most=1,
    of=('levels',),
  ),
  'images': Key(10, 'Probes at level s: images * (s + 1).', at_least=1, of=('levels',)),
  'most': Key(10, 'The highest level.', at_least=0, of=('levels',)),
  'start': Key(
    0.25,
    'Share of the run before the weights of the augmentations change.',
    at_least=0,
    at_most=1,
    of=('op_weights',),
  ),
}
