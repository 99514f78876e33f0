"""A finished run as its work directory holds it; nothing of its training is needed."""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fass_jax import nets
from fass_jax.config.deltas import base_config
from fass_jax.config.renamed import renew_config
from fass_jax.nets import named
from fass_jax.types import Implied, PyTree, UserError
from fass_jax.workdir import checkpoint

log = logging.getLogger('fass_jax')

# what a checkpoint's notes must say of a run that is to predict
NOTES = ('classes', 'counts', 'side', 'centre', 'upright', 'mean', 'std')


class SavedRun(NamedTuple):
  """A run of one seed or several, as its work directory has it."""

  flag: str  # how the user named it, for messages: '--workdir', '--config.start.run'
  workdir: str
  config: dict[str, Any]  # as it was saved
  variables: list[PyTree]  # by seed: params and batch_stats
  meta: dict[str, Any]  # what `checkpoint.save` was given with them, and the step


class FinishedRun(NamedTuple):
  """A run that can predict; nothing of its training is needed."""

  config: ConfigDict
  net: nets.Network
  variables: list[PyTree]  # by seed: params and batch_stats
  at: str  # where in the run, for people
  classes: tuple[str, ...]  # names
  counts: tuple[int, ...]  # training images of each class
  preparation: dict[str, Any]  # how an image becomes what the network sees, see `recipe.images`
  implied: Implied | None  # the class prior that its logits imply; None: older than this note


def read(workdir: str, flag: str, which: str = 'last') -> SavedRun:
  """Reads the newest checkpoint of a work directory; nothing in it is changed.

  Args:
    workdir: of the run, as the user gave it.
    flag: the flag that was given, for messages.
    which: 'last', the parameters after the last step, or 'best', of the best epoch until then.

  Raises:
    UserError: if it is no work directory, or has no checkpoint that can be read.
  """
  path = pathlib.Path(workdir).expanduser().absolute()
  try:
    config = renew_config(json.loads((path / 'config.json').read_text()))
  except (OSError, ValueError) as error:
    if (path / 'stages').is_dir():
      raise UserError(
        f'{flag}={workdir} has not come to its last stage yet; start that run again, or give one '
        f'of the stages before, in {path / "stages"}.'
      ) from error
    raise UserError(
      f'{flag}={workdir} is not the work directory of a run: {path / "config.json"} cannot be '
      'read; give the --workdir that the run was trained with.'
    ) from error
  folder = path / 'checkpoints'
  meta = checkpoint.meta(folder)
  variables = meta and checkpoint.variables(folder, 'best' if which == 'best' else 'state')
  if not meta or not variables:
    raise UserError(
      f'{flag}={workdir} has no checkpoint that can be read; start that run again until it has '
      'saved one, or give another work directory.'
    )
  return SavedRun(flag, workdir, config, variables, meta)


def whole_config(saved: dict[str, Any]) -> ConfigDict:
  """Returns a saved config, with today's defaults where it is older than a key."""
  config = base_config('')
  with config.ignore_type():  # JSON has lists for tuples
    config.update(saved)
  return config


def _implied(notes: dict[str, Any]) -> Implied | None:
  """Reads the prior that `note_of` wrote."""
  if 'prior' not in notes:
    return None
  return Implied(np.asarray(notes['prior']['shares']), tuple(notes['prior']['guesses']))


def note_of(implied: Implied) -> dict[str, Any]:
  """Returns an implied prior as plain JSON values."""
  return {'shares': implied.prior.tolist(), 'guesses': list(implied.guesses)}


def open_run(workdir: str, which: str = 'last') -> FinishedRun:
  """Reads a run that is to predict; nothing in its work directory is changed.

  Args:
    workdir: of the run.
    which: 'last', the parameters after the last step, or 'best', of the best epoch until then.

  Raises:
    UserError: as `read`, or if its checkpoints do not know their classes.
  """
  saved = read(workdir, '--workdir', which)
  meta, notes = saved.meta, saved.meta['notes']
  if any(name not in notes for name in NOTES):
    raise UserError(
      f'The checkpoints in {workdir} are older than this command and do not say how an image is '
      'shown to the network; continue that run until it saves again, or train again.'
    )
  best = [one['best'] and one['best']['epoch'] for one in meta['lanes']]
  if which == 'best' and not all(best):
    raise UserError(f'The run in {workdir} has evaluated no epoch yet; take --which=last.')
  config = whole_config(saved.config)
  images, size = sum(notes['counts']), config.batch_size
  steps = config.epochs * (images // size if config.last_batch == 'drop' else -(-images // size))
  if which != 'best' and meta['step'] < steps:
    log.warning('%s is not finished: it is at step %d of %d.', workdir, meta['step'], steps)
  return FinishedRun(
    config=config,
    net=named.network(config.net, config.engine, len(notes['classes'])),
    variables=saved.variables,
    at=f'epoch {", ".join(map(str, best))}' if which == 'best' else f'step {meta["step"]}',
    classes=tuple(notes['classes']),
    counts=tuple(notes['counts']),
    preparation={name: notes[name] for name in NOTES[2:]},
    implied=_implied(notes),
  )
