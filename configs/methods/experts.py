"""Several experts or branches in one network, and a network that teaches."""

import pathlib
import runpy

from fass_jax.config import Method

_SHARED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / 'shared.py'))
_PAPERS = _SHARED['PAPERS']

FAMILY = 'Experts and distillation'

# RIDE's optimiser and rotation
_RIDE = {
  'net.experts': 3,
  'optim.nesterov': True,
  'optim.weight_decay': 5e-4,
  'augment.rotation15': True,
}

METHODS = {
  'ride': Method(
    _SHARED['DEFERRED_WEIGHTS'] | _SHARED['COSINE_HEAD'] | _RIDE | {'loss': 'ride'},
    'RIDE: three experts that differ.',
    _PAPERS['Wang 2021'],
    'loss, experts, optimiser, rotation',
  ),
  # the optional second stage of RIDE, on top of a finished run (--config.start.run)
  'ride_router': Method(
    _SHARED['COSINE_HEAD']
    | _RIDE
    | {
      'loss': 'router',
      'net.router': True,
      'optim.only': ('head/router',),
      'streams.natural.sampler': 'class_balanced',
      'epochs': 5,
      'batch_size': 512,
      'optim.lr': 0.01,
      'optim.curve': 'cosine',
    },
    'A router for a finished RIDE: easy images ask fewer experts.',
    _PAPERS['Wang 2021'],
    'start, trained part, router loss, sampler, optimiser',
    needs_run=True,
  ),
  # a finished run teaches (--config.teacher.run), with the longer warm-up of RIDE's recipe
  'distill': Method(
    {
      'terms.distill.views': ('natural',),
      'terms.distill.loss': 'distillation',
      'optim.warmup_epochs': 20.0,
      'optim.warmup_fraction': 0.1,
    },
    'Distillation from a finished run; ride+distill is distilled RIDE.',
    f'{_PAPERS["Hinton 2015"]}; {_PAPERS["Wang 2021"]}',
    'teacher, term, warm-up',
    needs_run=True,
  ),
  # two branches that share all but the last block
  'bbn': Method(
    {
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
    'BBN: two branches with cumulative learning.',
    _PAPERS['Zhou 2020'],
    'stream, view, loss, branches',
  ),
}
