"""A finished run as its work directory holds it; nothing of its training is needed."""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from fass_jax import nets
from fass_jax.config.deltas import base_config
from fass_jax.nets import named
from fass_jax.types import PyTree, UserError
from fass_jax.workdir import checkpoint

log = logging.getLogger('fass_jax')

NOTES = ('classes', 'counts', 'side', 'centre', 'upright', 'mean', 'std')


class FinishedRun(NamedTuple):
  """A run of one seed or several, as its newest checkpoint has it."""

  config: ConfigDict
  net: nets.Network
  variables: list[PyTree]  # by seed: params and batch_stats
  at: str  # where in the run, for people
  classes: tuple[str, ...]  # names
  counts: tuple[int, ...]  # training images of each class
  preparation: dict[str, Any]  # of `shown.how`: how an image becomes what the network sees


def open_run(workdir: str, which: str = 'last') -> FinishedRun:
  """Reads the newest checkpoint of a work directory; nothing in it is changed.

  Args:
    workdir: of the run.
    which: 'last', the parameters after the last step, or 'best', of the best epoch until then.

  Raises:
    UserError: if it is no work directory, has no checkpoint that can be read, or none that knows
      its classes.
  """
  path = pathlib.Path(workdir).expanduser().absolute()
  try:
    saved = json.loads((path / 'config.json').read_text())
  except (OSError, ValueError) as error:
    if (path / 'stages').is_dir():
      raise UserError(
        f'--workdir={workdir} has not come to its last stage yet; start that run again, or give '
        f'one of the stages before, in {path / "stages"}.'
      ) from error
    raise UserError(
      f'--workdir={workdir} is not the work directory of a run: {path / "config.json"} cannot be '
      'read; give the --workdir that the run was trained with.'
    ) from error
  folder = path / 'checkpoints'
  meta = checkpoint.meta(folder)
  variables = meta and checkpoint.variables(folder, 'best' if which == 'best' else 'state')
  if not meta or not variables:
    raise UserError(
      f'--workdir={workdir} has no checkpoint that can be read; start that run again until it has '
      'saved one.'
    )
  notes = meta['notes']
  if any(name not in notes for name in NOTES):
    raise UserError(
      f'The checkpoints in {workdir} are older than this command and do not say how an image is '
      'shown to the network; continue that run until it saves again, or train again.'
    )
  best = [lane['best'] and lane['best']['epoch'] for lane in meta['lanes']]
  if which == 'best' and not all(best):
    raise UserError(f'The run in {workdir} has evaluated no epoch yet; take --which=last.')
  config = base_config('')
  with config.ignore_type():  # JSON has lists for tuples
    config.update(saved)  # today's defaults where the run is older than a key
  images, size = sum(notes['counts']), config.batch_size
  steps = config.epochs * (images // size if config.last_batch == 'drop' else -(-images // size))
  if which != 'best' and meta['step'] < steps:
    log.warning('%s is not finished: it is at step %d of %d.', workdir, meta['step'], steps)
  return FinishedRun(
    config=config,
    net=named.network(config.net, config.engine, len(notes['classes'])),
    variables=variables,
    at=f'epoch {", ".join(map(str, best))}' if which == 'best' else f'step {meta["step"]}',
    classes=tuple(notes['classes']),
    counts=tuple(notes['counts']),
    preparation={name: notes[name] for name in NOTES[2:]},
  )
