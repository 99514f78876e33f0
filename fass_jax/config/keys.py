"""The config keys that exist: one row per key, in the order of a config.

The rows of data sets, losses and pieces (streams, views, terms, signals) have files of their own.
"""

from __future__ import annotations

from typing import Any

from fass_jax.config.key import Key, defaults, under
from fass_jax.config.keys_data import (
  AUGMENT_KEYS,
  DATA_KEYS,
  EXAMPLE_KEYS,
  FILE_KEYS,
  NUMBER_KEYS,
  TABLE_KEYS,
)
from fass_jax.config.keys_losses import LOSS_KEYS, LOSS_PARAMETERS, REWEIGHT_KEYS
from fass_jax.config.keys_pieces import SIGNAL_KEYS, STREAM_KEYS, TERM_KEYS, VIEW_KEYS
from fass_jax.config.nested import split_stage

FORWARD = ('separate', 'vmapped', 'joint')

RUN_KEYS: dict[str, Key] = {
  'name': Key('', "Name of the config, a part of the work directory's name."),
  'method': Key('ce', 'The method string; set it after the colon of --config=FILE:METHOD.'),
  'seed': Key(0, 'Seed of the random numbers.'),
  'seeds': Key(1, 'Train seed, seed + 1, ... in one process, as many as this says.', at_least=1),
  'epochs': Key(200, 'Length of the run.', at_least=1),
  'batch_size': Key(128, 'Images per step.', at_least=1),
  'imb_factor': Key(
    100.0,
    'Images of the largest class over those of the smallest.',
    at_least=1,
    hint='; it is the largest class over the smallest',
  ),
  'loss': Key('ce', 'The loss of the run.', table='losses'),
  'task': Key(
    'classification',
    "What is predicted: 'classification' a class, 'regression' a number.",
    table='tasks',
  ),
  'classifier': Key(
    'trained',
    "The classifier that is tested at the end: 'trained' is the network as it is, others are "
    'fitted on it.',
    table='classifiers',
  ),
  'forward': Key(
    'separate',
    "How views pass the network: 'separate' one by one, 'vmapped' with the same result, 'joint' "
    'as one batch.',
    choices=FORWARD,
  ),
  'last_batch': Key(
    'fill',
    "The last batch of an epoch: 'fill' it from the next permutation, masked out, or 'drop' it.",
    choices=('fill', 'drop'),
  ),
  'stacked_priors': Key(
    False, 'Allow two corrections of the class prior at once, such as a loss and a sampler.'
  ),
}

NET_KEYS: dict[str, Key] = {
  'backbone': Key('resnet_cifar', 'The network before its head.', table='backbones'),
  'depth': Key(32, 'Number of layers.', at_least=1),
  'hidden': Key((128, 128), 'Widths of the hidden layers.', at_least=1, of=('mlp',)),
  'head': Key(
    'linear',
    "The classifying layer: 'linear_torch' begins as PyTorch's, 'linear_prior' suits sigmoids.",
    table='heads',
  ),
  'scale': Key(30.0, 'Scale of the logits of a cosine head.', above=0, of=('cosine',)),
  'experts': Key(1, 'Copies of the last blocks and the head.', at_least=1),
  'reduced': Key(True, 'Give experts 3/4 of the channels.'),
  'branch': Key(
    'stages',
    "What an expert has of its own: the last two 'stages' (RIDE) or the last 'block' (BBN).",
    choices=('stages', 'block'),
  ),
  'class_scale': Key(False, 'Learn a factor for the logits of each class (LWS).'),
  'projection': Key(0, 'Size of the embedding of a contrastive loss; 0 is none.', at_least=0),
  'router': Key(False, 'Learn after each expert whether to ask the next.'),
}
START_KEYS: dict[str, Key] = {
  'run': Key('', "Begin with the parameters of the run in this work directory; '' is at random."),
  'weights': Key('', 'Begin with this file of a pretrained backbone.'),
  'statistics': Key(True, 'Take over batch statistics too.'),
  'fresh': Key((), "Parts that begin at random all the same: prefixes such as 'head'."),
}
OPTIM_KEYS: dict[str, Key] = {
  'lr': Key(0.1, 'Learning rate after the warm-up.', at_least=0),
  'momentum': Key(0.9, 'Momentum of SGD.', at_least=0, below=1),
  'weight_decay': Key(2e-4, 'Weight decay, added to the gradient.', at_least=0),
  'nesterov': Key(False, "Use Nesterov's momentum."),
  'warmup_epochs': Key(5.0, 'Length of the warm-up.', at_least=0),
  'warmup_fraction': Key(0.025, 'The warm-up is at most this share of the run.', at_least=0),
  'schedule': Key(
    ((0, 1.0), (0.8, 0.01), (0.9, 0.0001)),
    "Factors of the learning rate over time, of the curve 'steps'.",
    schedule=True,
  ),
  'curve': Key(
    'steps',
    "The learning rate: 'steps' by optim.schedule, or 'cosine' from lr to 0.",
    choices=('steps', 'cosine'),
  ),
  'only': Key((), "Train these parts alone: prefixes such as 'head/router'; () is all."),
  'undecayed': Key((), "Parts without weight decay: prefixes such as '*/linear/bias'."),
  'frozen_statistics': Key(
    'keep',
    "Batch statistics of parts that do not train: 'keep' them, or let them 'drift'.",
    choices=('keep', 'drift'),
  ),
}
EVAL_KEYS: dict[str, Key] = {
  'every': Key(1, 'Evaluate every so many epochs.', at_least=1),
  'batch_size': Key(1000, 'Test images per step.', at_least=1),
  'threshold': Key(
    0.0,
    'Open set: reject below this largest softmax; 0: the one that rejects 1 % of held-out images.',
    at_least=0,
    below=1,
  ),
  'ece_bins': Key(15, 'Bins of the expected calibration error.', at_least=1),
  'many': Key(100, 'Classes with more training images are many-shot.', at_least=0),
  'few': Key(20, 'Classes with fewer training images are few-shot.', at_least=0),
  'shots': Key(
    'fixed',
    "Shot groups: 'fixed' by the two numbers, or 'auto', thirds of the classes where one is empty.",
    choices=('fixed', 'auto'),
  ),
}
# how a run is computed: what comes out is the same up to rounding
ENGINE_KEYS: dict[str, Key] = {
  'precision': Key('tf32', "Precision; 'tf32' on a GPU that has it.", table='precisions'),
  'convolution': Key('direct', 'How convolutions are computed.', table='convolutions'),
  'chunk': Key(
    0, 'Steps per call of a compiled program; 0 is 1 on a CPU, else up to 128.', at_least=0
  ),
  'unroll': Key(1, "Steps per turn of a compiled program's loop.", at_least=1),
  'devices': Key(0, 'Use this number of the devices; 0 is all.', at_least=0),
  'processes': Key(
    'auto',
    "'auto' joins several processes where a launcher started them.",
    choices=('auto', 'off', 'on'),
  ),
  'together': Key(
    'auto',
    "Several seeds: 'batched' in one program, 'interleaved', or 'auto', the faster.",
    choices=('auto', 'batched', 'interleaved'),
  ),
  'cache': Key('auto', "Folder of compiled programs; 'auto' is the user's cache, 'off' is none."),
}
CLASSIFIER_KEYS: dict[str, Key] = {
  'tau': Key(
    'auto',
    "A number, or 'auto'. tau_norm: power of the norms, chosen on data.held_out; post_hoc: factor "
    'of the log prior, 1.',
    of=('tau_norm', 'post_hoc'),
  ),
  'prior': Key(
    'uniform', "Class prior at test time: 'uniform', 'train' or a file.", of=('post_hoc',)
  ),
  'ncm': Key(
    'cl2n',
    'How features are normalised before the nearest class mean.',
    choices=('cl2n', 'l2n', 'un', 'cosine'),
    of=('ncm',),
  ),
  'calibrate': Key(False, 'Divide the logits by a temperature fitted on data.held_out.'),
}
CHECKPOINT_KEYS: dict[str, Key] = {
  'every_s': Key(60.0, 'Save after this many seconds; 0 does not.', at_least=0),
  'every_steps': Key(0, 'Save after this many steps; 0 does not.', at_least=0),
  'keep': Key(2, 'Number of checkpoints to keep.', at_least=1),
}
TEACHER_KEYS: dict[str, Key] = {
  'run': Key('', "Work directory of the run that teaches; 'previous' is the stage before.")
}

# by dotted key, in the order of a config
KEYS: dict[str, Key] = {
  **RUN_KEYS,
  **under('classifier_args', CLASSIFIER_KEYS),
  **under('loss_args', LOSS_KEYS),
  **under('reweight', REWEIGHT_KEYS),
  **under('data', {**DATA_KEYS, **FILE_KEYS, **TABLE_KEYS, **NUMBER_KEYS}),
  **under('examples', EXAMPLE_KEYS),
  **under('net', NET_KEYS),
  **under('start', START_KEYS),
  **under('teacher', TEACHER_KEYS),
  **under('optim', OPTIM_KEYS),
  **under('eval', EVAL_KEYS),
  **under('engine', ENGINE_KEYS),
  **under('checkpoint', CHECKPOINT_KEYS),
  **under('augment', AUGMENT_KEYS),
}
# sections whose entries a config or a method names, with the rows of an entry
ENTRIES: dict[str, dict[str, Key]] = {
  'streams': STREAM_KEYS,
  'views': VIEW_KEYS,
  'terms': TERM_KEYS,
  'signals': SIGNAL_KEYS,
}
STREAM, VIEW, TERM, SIGNAL = (defaults(rows) for rows in ENTRIES.values())
DEFAULTS: dict[str, dict[str, Any]] = {s: defaults(rows) for s, rows in ENTRIES.items()}
NET, START, CLASSIFIER = (defaults(rows) for rows in (NET_KEYS, START_KEYS, CLASSIFIER_KEYS))
LOSS_ARGS = {loss: defaults(rows) for loss, rows in LOSS_PARAMETERS.items()}

# keys that may differ between two runs of one work directory
FREE = (
  'checkpoint.',
  'data.dir',
  'data.cache',
  'data.url',
  'data.sha256',
  'eval.batch_size',
  'engine.chunk',
  'engine.unroll',
  'engine.cache',
  'engine.processes',
  'engine.devices',
  'data.root',
  'data.open',
  'eval.threshold',
  'data.file',
  'data.lists',
  'data.workers',
)


def row_of(key: str) -> Key | None:
  """Returns the row of a dotted key, whatever its stage and its entry are called; None for none."""
  key = split_stage(key)[1]
  section, _, rest = key.partition('.')
  if section in ENTRIES:
    return ENTRIES[section].get(rest.partition('.')[2])
  return KEYS.get(key)
