"""The config keys that exist, with their defaults: one table for each section."""

from __future__ import annotations

from typing import Any

# a stream, view, term or signal that a config or a method adds starts from these
STREAM = {
  'sampler': 'permutation',  # see data/samplers.py
  'beta': 0.0,  # of the effective number; 0 is (N - 1) / N (Eq. 2)
  'power': ((0, 1.0), (0.8, 0.0)),  # of 'power': classes by n^q, q over time; deferred by default
  'images': 2,  # of 'groups': K images of each of P classes
  'rho': 1.0,  # share of the batch that is drawn and mixed
  'gate': 'first',  # rho as: 'first' ceil(rho B) samples | 'bernoulli' a sample | 'coin' a batch
  'start': 'on',  # 'skip': off in the first epoch; 'on': until S is known, random partners, lam .5
  # 'score' | 'random' | 'class_uniform' | 'reversed' | 'permutation', see data/partners.py
  'partner': 'none',
  'lam': 'score',  # 'score' | 'beta' | 'batch_beta' | 'fixed'
  'lambda_min': 0.0,  # lower bound of 'score'
  'lam_alpha': 1.0,  # Beta(alpha, alpha)
  'lam_value': 0.5,  # of 'fixed'
  'chance': ((0, 1.0),),  # a batch is mixed with this probability: ((when, value), ...)
  'shared': True,  # one partner image for all views of the stream | one draw each
}
VIEW = {
  'stream': 'natural',
  # 'mixup' | 'cutmix' | 'cutmix_batch': one box for the batch | 'manifold': MixUp of the features
  'mix': 'none',
  'label': 'single',  # 'single': the own class alone (Eq. 8a) | 'mixed': both, by area
  'augment': (),  # ops instead of the run's, see augment/chain.py
  'draw': 0,  # views of a stream with equal ops and draw see the same pixels
  'group': '',  # views of a group share a pass and its batch statistics; '' is alone
}
TERM = {
  'views': ('natural',),
  'loss': 'host',  # 'host': the run's `loss` | the name of another one
  'weight': 1.0,  # a number or ((when, value), ...)
  'divisor': 'weights',  # 'weights': mean over the samples of the view | 'batch': sum / B
}
SIGNAL = {
  'kind': 'score_matrix',  # | 'levels' (CUDA) | 'op_weights' (DODA)
  'view': 'natural',
  # of 'score_matrix'
  'form': 'matrix',  # 'matrix' C x C | 'vector' of own-class means (ablation)
  'source': 'running',  # 'running' training forwards | 'pass' over the set at the epoch's end
  'decay': 0.0,  # memory of older epochs: an EMA
  # of 'levels' and 'op_weights'
  'chance': 0.5,  # an image is augmented with this probability
  'accept': 0.6,  # of 'levels': share of right probes above which a class rises
  'images': 10,  # of 'levels': images * (s + 1) probes at level s
  'most': 10,  # of 'levels': the highest level
  'start': 0.25,  # of 'op_weights': share of the run before weights change
}
# 'separate': every view its own pass and batch statistics; 'vmapped': the same numbers, views of
# one size in one pass; 'joint': all views in one batch, with its statistics
FORWARD = ('separate', 'vmapped', 'joint')
# how a run is computed, up to rounding not what
ENGINE = {
  'precision': 'tf32',  # 'float32' | 'tf32', on a GPU that has it | 'bfloat16' | 'float64'
  'convolution': 'direct',  # 'direct' | 'patches', see nets/convolution.py
  'chunk': 0,  # steps in one call of a compiled program; 0: 1 on a CPU, else up to 128
  'unroll': 1,  # of these, steps in one turn of its loop
  'devices': 0,  # so many of the devices there are; 0: all
  'processes': 'auto',  # 'auto': several where a launcher started several | 'off' | 'on'
  'together': 'auto',  # several seeds: 'batched' | 'interleaved' | 'auto': the faster
  'cache': 'auto',  # folder of compiled programs | 'auto': the user's cache | 'off'
}
# of the classifier at test time, each read by those that have it, see classifiers/
CLASSIFIER = {
  # of 'tau_norm': a power of the norms, or 'auto': the one of 0, .1, .. 2 that is best on
  # data.held_out; of 'post_hoc': how often the log prior is taken out, 'auto' is 1
  'tau': 'auto',
  'prior': 'uniform',  # of 'post_hoc': the prior at test time: 'uniform' | 'train' | a file
  'ncm': 'cl2n',  # of 'ncm': 'cl2n' | 'l2n' | 'un' | 'cosine'
  'calibrate': False,  # of all: logits / T, T of the least NLL on data.held_out
}
# how a set of image files becomes pixels; arrays (digits, CIFAR) have no use for it
FILES = {
  'root': '',  # of `folder`: a folder `class/*.jpg`, or a list or CSV of paths and labels
  'lists': '',  # of ImageNet-LT and its kin: folder with the lists of the split
  'split': 'test',  # what is evaluated on: 'test' | 'val'
  'val_share': 0.2,  # of `folder`: share of each class that is held out
  'max_broken': 0.01,  # share of the files that may be broken and left out
  'shrink': 0,  # prepared images are scaled to this short side; 0 keeps them as they are
  'store': 'auto',  # 'resident': squares on the device | 'stream' | 'auto': by resident_gb
  'resident_gb': 2.0,  # squares up to this size are kept on the device
  'square': 256,  # side of a resident square
  'crop_area': (0.08, 1.0),  # of a random crop, share of the image
  'centre': 0.875,  # at test time: side of the square in the middle, share of the short side
  'decoder': 'pillow',  # | 'fast': simplejpeg and OpenCV, of the extra `fast`
  'workers': 0,  # threads that decode; 0: one a core
}
# ops that methods add to those of the data set (data.augment), see augment/chain.py; 'cam' asks the
# network of teacher.run where it sees a class
AUGMENT = ('rotation15', 'autoaugment', 'randaugment', 'cuda', 'doda', 'cutout', 'cam')
NET = {
  'backbone': 'resnet_cifar',
  'depth': 32,
  'head': 'linear',  # | 'linear_torch' | 'linear_prior', for sigmoids | 'cosine'
  'scale': 30.0,
  'experts': 1,  # copies of the last blocks and the head
  'reduced': True,  # experts with 3/4 of the channels
  'branch': 'stages',  # an expert's own: the last two 'stages' (RIDE) | the last 'block' (BBN)
  'class_scale': False,  # a learned factor for the logits of each class (LWS)
  'projection': 0,  # size of the embedding of a contrastive loss
  'router': False,  # says after each expert whether to ask the next, see nets/heads.py
}
# parameters of the losses, each read by those that have it
LOSS_ARGS = {
  'max_margin': 0.5,  # of 'ldam' and 'ride': margin of the rarest class
  'tau': 1.0,  # of 'logit_adjustment'
  'weighted_tau': 0.5,  # of 'weighted_la': 0 weights alone, 1 margins alone
  'tau1': 1.0,  # of 'two_rate': power of the own class; no pair but an equal one is published
  'tau2': 1.0,  # of 'two_rate': power of the others
  'adaptive_margin': 1.0,  # of 'la_adaptive': factor of pi^(-1/4)
  'equalised_share': 0.9,  # of 'equalised': how much less a rare class is pushed down
  'equalised_below': 0.5,  # of 'equalised': rare below so much of the uniform share 1 / C
  'smoothing': 0.1,  # of 'label_smoothing'
  'cdt_gamma': 0.2,  # of 'cdt': power of n_max / n_c
  'gamma': 1.0,  # of 'focal'
  'sigmoid_gamma': 1.0,  # of 'focal_sigmoid'; 2 in detection
  'sigmoid_alpha': 0.0,  # of 'focal_sigmoid': weight of the own class; 0: none; .25 in detection
  'range_k': 2,  # of 'range': ranges a class
  # of 'range', unpublished: the margin has to grow with the length of the features, and the ranges
  # are a sum over the classes, so its term needs a small weight
  'range_margin': 10.0,
  'range_intra': 1.0,  # factor of the ranges
  'range_inter': 1.0,  # factor of the distance of the centres
  'diversity': -0.45,  # of 'ride'
  'diversity_factor': 0.05,  # of 'ride': how far the temperature follows the class counts
  'temperature': 0.1,  # of 'balanced_contrastive'
  'distill_temperature': 1.5,  # of 'distillation'
  'distill_power': 1.0,  # of 'distillation': below 1 flattens the teacher's predictions (DiVE)
  'router_positive': 100.0,  # of 'router': weight of a sample that a later expert saves
}
# where a fresh run starts from, see earlier.py
START = {
  'run': '',  # work directory of an earlier run: its last parameters; '' initialises all
  'weights': '',  # or a file of a pretrained backbone, see nets/pretrained.py
  'statistics': True,  # and its batch statistics
  'fresh': (),  # parts that are initialised anew all the same: prefixes such as 'head'
}
# weights of the classes in the host loss
REWEIGHT = {
  'kind': 'none',  # 'effective_number' | 'inverse'
  'beta': 0.9999,
  'power': 1.0,  # of 'inverse': n^-power
  'share': ((0, 0.0), (0.8, 1.0)),  # 0: weights of 1; 1: the class weights; deferred by default
}
OPTIM = {
  'lr': 0.1,
  'momentum': 0.9,
  'weight_decay': 2e-4,
  'nesterov': False,
  'warmup_epochs': 5.0,
  'warmup_fraction': 0.025,
  'schedule': ((0, 1.0), (0.8, 0.01), (0.9, 0.0001)),  # factors of lr, of curve 'steps'
  'curve': 'steps',  # | 'cosine': from lr to 0
  'only': (),  # parts that train: prefixes such as 'head/router', '*/class_scale'; () is all
  'undecayed': (),  # parts without weight decay
  'frozen_statistics': 'keep',  # batch statistics of the other parts | 'drift': they follow
}
EVAL = {
  'every': 1,  # epochs
  'batch_size': 1000,
  'ece_bins': 15,
  'many': 100,  # classes with more training images are many-shot
  'few': 20,  # those with fewer few-shot
  'shots': 'fixed',  # | 'auto': thirds of the classes where a group has none
}
DEFAULTS: dict[str, dict[str, Any]] = {
  'streams': STREAM,
  'views': VIEW,
  'terms': TERM,
  'signals': SIGNAL,
}

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
  'data.lists',
  'data.workers',
)
