"""Runs of several stages: each is a run of the one loop that begins where the one before ended.

A method adds a stage by deltas of `stages.NAME`, such as `stages.classifier.optim.only`. The first
stage is the run without them, in `WORKDIR/stages/first`; the last one is in WORKDIR itself, so that
whatever reads a work directory reads what came out.
"""

from __future__ import annotations

import logging
import os
import pathlib
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from fass_jax.config.deltas import base_config, flatten, set_keys
from fass_jax.config.keys import START
from fass_jax.types import UserError

# what a stage does not take over from the run: the slots of its method
SLOTS = (
  'loss',
  'reweight',
  'forward',
  'teacher',
  'augment',
  'examples',
  'streams',
  'views',
  'terms',
  'signals',
  'start',
  'stages',
)
FIRST = 'first'
PREVIOUS = 'previous'  # as a teacher: the stage before
OWN = 'stage:'  # before the folder of another stage, seen from that of this one: runs can move
_FIRST_SLOTS = tuple(slot for slot in SLOTS if slot not in ('start', 'stages'))

log = logging.getLogger('fass_jax')


class Stage(NamedTuple):
  """A run that is a part of a run."""

  name: str  # '' for a run of one stage
  config: ConfigDict
  folder: pathlib.Path


def split(config: ConfigDict, workdir: pathlib.Path) -> list[Stage]:
  """Returns the stages of a run: the first, those that begin anew, the others; each by name.

  A stage has the run's data, network, optimiser and the like, the slots of plain training (CE of
  the images as they are), and what its own deltas set; its time counts from its beginning. One that
  begins anew (its `start.run` is '') has the slots of the run. A run with `start.run` has its first
  stage behind it: that run.

  Args:
    config: of the run, with its section `stages`.
    workdir: of the run.

  Raises:
    UserError: for a key of a stage that there is not, or a first stage that trains a part alone.
  """
  # what comes out has been through all that follow
  names = sorted(config.stages, key=lambda name: (not _anew(config, name), name))
  if not names:
    return [Stage('', config, workdir)]
  found = []
  first_alone = [k for k in ('fresh', 'statistics') if config.start[k] != START[k]]
  if first_alone and not config.start.weights:
    raise UserError(
      f'--config.start.{first_alone[0]} says what a first stage takes over from a file of weights, '
      f'and there is none; of the stage it is --config.stages.{names[0]}.start.{first_alone[0]}.'
    )
  if config.optim.only and not config.start.weights:
    raise UserError(
      f'--config.optim.only={config.optim.only} trains a part of a finished run, and in '
      f"'{config.method}' a stage follows; run one after the other, the second with "
      '--config.start.run=WORKDIR.'
    )
  if config.start.run:
    plain, here = (flatten({k: c[k] for k in _FIRST_SLOTS}) for c in (base_config(''), config))
    lost = sorted(k for k in here if here[k] != plain.get(k))
    if lost and not any(_anew(config, name) for name in names):
      log.warning(
        'The first stage is the finished run %s: what the methods %s set for it is not trained '
        'again (%s).',
        config.start.run,
        config.method,
        ', '.join(lost[:5]),
      )
  else:
    first = config.copy_and_resolve_references().unlock()
    first.stages, first.classifier = ConfigDict(), 'trained'  # only what comes out is classified
    found.append(Stage(FIRST, first.lock(), workdir / 'stages' / FIRST))
  for name in names:
    folder = workdir if name == names[-1] else workdir / 'stages' / name
    before = OWN + os.path.relpath(found[-1].folder, folder) if found else config.start.run
    stage = _stage(config, name, before)
    if name != names[-1]:
      with stage.unlocked():
        stage.classifier = 'trained'
    found.append(Stage(name, stage, folder))
  return found


def folder_of(run: str, folder: pathlib.Path) -> str:
  """Returns the work directory that `start.run` or `teacher.run` of a stage in `folder` names."""
  return os.path.normpath(folder / run.removeprefix(OWN)) if run.startswith(OWN) else run


def _anew(config: ConfigDict, name: str) -> bool:
  """Says whether a stage begins with no parameters of an earlier one."""
  return flatten(config.stages[name]).get('start.run') == ''


def _stage(config: ConfigDict, name: str, before: str) -> ConfigDict:
  plain = base_config(config.name)
  stage = config.copy_and_resolve_references().unlock()
  # what comes out of a stage that begins anew is trained by it alone
  for slot in ('teacher', 'start', 'stages') if _anew(config, name) else SLOTS:
    stage[slot] = plain[slot]
  stage.start.run = before
  sets = flatten(config.stages[name], tuples=True)
  epochs = sets.pop('epochs', config.epochs)
  if epochs <= 0:
    raise UserError(f'--config.stages.{name}.epochs={epochs} is not above 0.')
  # a share of the first stage, so that short runs are the same in small
  stage.epochs = max(1, round(epochs * config.epochs)) if epochs < 1 else round(epochs)
  set_keys(stage, sets, f'stages.{name}.')
  if stage.teacher.run == PREVIOUS:
    stage.teacher.run = before
  return stage.lock()


def keys(config: ConfigDict) -> dict[str, Any]:
  """Returns the keys that can be set for the stages of a run, with their values.

  Beside those that its methods set these are all keys of the run: `{'stages.NAME.KEY': value}`.
  """
  found: dict[str, Any] = {}
  for name in config.stages:
    whole = flatten(_stage(config, name, ''), tuples=True)
    found |= {f'stages.{name}.{key}': value for key, value in whole.items()}
  return found
