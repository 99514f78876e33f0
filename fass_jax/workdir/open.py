"""Opens the run of a work directory for prediction, without its training data."""

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

# the notes of a checkpoint that prediction needs
NOTES = ('classes', 'counts', 'side', 'centre', 'upright', 'mean', 'std')
LATER = ('unit', 'columns', 'scale')  # notes that older checkpoints of images lack


class SavedRun(NamedTuple):
  """A saved run with one or several seeds."""

  flag: str  # the user's flag, for messages: '--workdir', '--config.start.run'
  workdir: str
  config: dict[str, Any]  # the saved config
  variables: list[PyTree]  # params and batch_stats, one per seed
  meta: dict[str, Any]  # metadata of the checkpoint, see `checkpoint.meta`


class FinishedRun(NamedTuple):
  """A run that is ready for prediction."""

  config: ConfigDict
  net: nets.Network
  variables: list[PyTree]  # params and batch_stats, one per seed
  at: str  # step or epoch of the variables, for messages
  classes: tuple[str, ...]  # T names, of the tested classes
  counts: tuple[int, ...]  # [T], training images per class
  preparation: dict[str, Any]  # of an image or row at test time, see `recipe.images`
  # [T], the class prior that its logits of the tested classes imply; None in old checkpoints
  implied: Implied | None
  auxiliary: tuple[tuple[str, int], ...] = ()  # name and training images of the other classes
  is_finished: bool = True  # False: the run has steps left

  @property
  def reads_rows(self) -> bool:
    """Whether the run classifies rows of numbers instead of images."""
    return self.preparation['side'] == 0


def read(workdir: str, flag: str, which: str = 'last') -> SavedRun:
  """Reads the newest checkpoint of a work directory, without writing any file.

  Args:
    workdir: work directory of the run, as given by the user.
    flag: the user's flag, for messages.
    which: 'last', the parameters after the last step, or 'best', after the best epoch so far.

  Raises:
    UserError: if it is not a work directory, or has no readable checkpoint.
  """
  path = pathlib.Path(workdir).expanduser().absolute()
  try:
    config = renew_config(json.loads((path / 'config.json').read_text()))
  except (OSError, ValueError) as error:
    if (path / 'stages').is_dir():
      raise UserError(
        f'{flag}={workdir} has not reached its last stage yet; start that run again, or give the '
        f'folder of an earlier stage in {path / "stages"}.'
      ) from error
    raise UserError(
      f'{flag}={workdir} is not the work directory of a run: {path / "config.json"} cannot be '
      'read; give the --workdir of the training command.'
    ) from error
  folder = path / 'checkpoints'
  meta = checkpoint.meta(folder)
  variables = meta and checkpoint.variables(folder, 'best' if which == 'best' else 'state')
  if not meta or not variables:
    raise UserError(
      f'{flag}={workdir} has no readable checkpoint; start that run again until it has saved one, '
      'or give another work directory.'
    )
  return SavedRun(flag, workdir, config, variables, meta)


def whole_config(saved: dict[str, Any]) -> ConfigDict:
  """Returns a saved config, with current defaults for keys that it does not have."""
  config = base_config('')
  with config.ignore_type():  # JSON has lists for tuples
    config.update(saved)
  return config


def _implied(notes: dict[str, Any]) -> Implied | None:
  """Returns the prior from the notes, see `note_of`."""
  if 'prior' not in notes:
    return None
  return Implied(np.asarray(notes['prior']['shares']), tuple(notes['prior']['guesses']))


def note_of(implied: Implied) -> dict[str, Any]:
  """Returns an implied prior as plain JSON values."""
  return {'shares': implied.prior.tolist(), 'guesses': list(implied.guesses)}


def open_run(workdir: str, which: str = 'last') -> FinishedRun:
  """Opens a run for prediction, without writing any file.

  Args:
    workdir: work directory of the run.
    which: 'last', the parameters after the last step, or 'best', after the best epoch so far.

  Raises:
    UserError: as in `read`; if the checkpoint lacks notes for prediction, or no epoch has been
      evaluated and `which` is 'best'.
  """
  saved = read(workdir, '--workdir', which)
  meta, notes = saved.meta, saved.meta['notes']
  if any(name not in notes for name in NOTES):
    raise UserError(
      f'The checkpoints in {workdir} are from an older version and do not contain the image '
      'preparation; continue that run until it saves again, or train again.'
    )
  best = [one['best'] and one['best']['epoch'] for one in meta['lanes']]
  if which == 'best' and not all(best):
    raise UserError(f'The run in {workdir} has not evaluated an epoch yet; use --which=last.')
  config = whole_config(saved.config)
  images, size = notes.get('examples', sum(notes['counts'])), config.batch_size
  steps = config.epochs * (images // size if config.last_batch == 'drop' else -(-images // size))
  tested = len(notes['classes']) - notes.get('auxiliary', 0)
  if which != 'best' and meta['step'] < steps:
    log.warning('The run in %s is not finished: step %d of %d.', workdir, meta['step'], steps)
  return FinishedRun(
    config=config,
    net=named.network(config.net, config.engine, notes.get('outputs', len(notes['classes']))),
    variables=saved.variables,
    at=f'epoch {", ".join(map(str, best))}' if which == 'best' else f'step {meta["step"]}',
    classes=tuple(notes['classes'][:tested]),
    counts=tuple(notes['counts'][:tested]),
    preparation={name: notes[name] for name in (*NOTES[2:], *LATER) if name in notes},
    implied=_implied(notes),
    auxiliary=tuple(zip(notes['classes'][tested:], notes['counts'][tested:])),
    is_finished=meta['step'] >= steps,
  )
