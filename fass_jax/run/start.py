"""What a run takes over from an earlier one or a file: its first parameters, or a teacher."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Collection, Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fass_jax.config import stages
from fass_jax.config.deltas import flatten
from fass_jax.config.keys import NET
from fass_jax.engine.devices import copy
from fass_jax.nets import paths, pretrained
from fass_jax.recipe.build import Recipe
from fass_jax.types import Placement, PyTree, TrainState, UserError
from fass_jax.workdir.open import SavedRun, read

log = logging.getLogger('fass_jax')


def named(config: ConfigDict, section: str, workdir: pathlib.Path) -> SavedRun:
  """Reads the run that the section 'start' or 'teacher' names, for a run in `workdir`.

  Raises:
    UserError: as `read`, if it is the run itself, or trained on what this one holds out.
  """
  folder = stages.folder_of(config[section].run, workdir)
  if pathlib.Path(folder).expanduser().absolute() == workdir:
    raise UserError(
      f'--config.{section}.run={folder} is the work directory of this run; choose another '
      '--workdir.'
    )
  run = read(folder, f'--config.{section}.run')
  check_held_out(config, run)
  return run


def of_seed(earlier: SavedRun, seed: int) -> PyTree:
  """Returns the variables of the run with this seed, or of the first if there is none."""
  first, n = earlier.config['seed'], len(earlier.variables)
  there = seed if first <= seed < first + n else first
  log.info('%s: seed %d of %s.', earlier.flag, there, earlier.workdir)
  return earlier.variables[there - first]


def of_seeds(earlier: SavedRun, seed: int, seeds: int, where: Placement) -> list[PyTree]:
  """Returns the variables for each of several seeds on their devices, each run's once.

  So a seed has what it has alone, and those that the run does not have share its first.
  """
  found = [of_seed(earlier, seed + i) for i in range(seeds)]
  there = {id(x): copy(x, where) for x in found}
  return [there[id(x)] for x in found]


def check_held_out(config: ConfigDict, earlier: SavedRun) -> None:
  """Makes sure that a run did not train on the images that this one holds out.

  Raises:
    UserError: with the keys that choose the training set and differ.
  """
  if not config.data.held_out:
    return
  then, now = (
    flatten({'data': c['data'], 'imb_factor': c['imb_factor']})
    for c in (earlier.config, config.to_dict())
  )
  keys = ('data.kind', 'data.held_out', 'data.subset_seed', 'data.profile', 'imb_factor')
  other = [f'{k} {then.get(k)} there, {now[k]} here' for k in keys if then.get(k) != now[k]]
  if other:
    raise UserError(
      f'{earlier.flag}={earlier.workdir} may have trained on images that are held out here '
      f'({", ".join(other)}); train that run with the same values, or hold nothing out.'
    )


def check_frozen(config: ConfigDict, key: str, here: Collection[str], old: Collection[str]) -> None:
  """Makes sure that nothing is frozen as it is initialised.

  Args:
    config: with the sections `start` and `optim`.
    key: the config key that says where to start from.
    here: paths of this network's parameters.
    old: those that are there to be taken over.

  Raises:
    UserError: with the first that is neither taken over nor trained.
  """
  only, fresh = paths.prefixes(config.optim.only), paths.prefixes(config.start.fresh)
  if not only or '' in only:
    return
  for path in here:
    if (path not in old or paths.inside(path, fresh)) and not paths.inside(path, only):
      raise UserError(
        f'--config.{key}={config.start[key.partition(".")[2]]} does not give {path}, which is '
        'frozen here and would stay as it is initialised; give a run of the same --config.net '
        'values, or train that part too (optim.only).'
      )
  if not config.start.statistics and config.optim.frozen_statistics == 'keep':
    raise UserError(
      'With start.statistics=False the frozen parts would keep batch statistics that nothing has '
      'seen; leave it, or set --config.optim.frozen_statistics=drift.'
    )


def take_over(new: PyTree, old: PyTree, fresh: Sequence[str]) -> PyTree:
  """Returns `new` with the leaves that `old` has too, copied.

  Args:
    new: a tree as it is initialised; its leaves stay where `old` has none, and in the parts
      `fresh`.
    old: the tree of an earlier run.
    fresh: prefixes of paths.

  Raises:
    UserError: for a leaf of another shape, with its path.
  """
  known = paths.flat(old)

  def leaf(path: str, value: jax.Array) -> jax.Array:
    if path not in known or paths.inside(path, fresh):
      return value
    if known[path].shape != value.shape:
      raise UserError(
        f'--config.start.run has {path} of shape {known[path].shape}, which is {value.shape} here; '
        'give the same --config.net values, or begin this part anew by '
        f'--config.start.fresh="(\'{path.split("/")[0]}\',)".'
      )
    # a copy: several seeds may take the same leaf, and a train state is donated
    return jnp.copy(known[path]).astype(value.dtype)

  return paths.mapped(leaf, new)


def start_from(config: ConfigDict, earlier: SavedRun, seed: int, state: TrainState) -> TrainState:
  """Gives a fresh state the parameters of an earlier run, as the section `start` says.

  The optimiser's momentum, the signals and the clock stay at zero.

  Raises:
    UserError: for a leaf of another shape, or if no parameter is taken over.
  """
  fresh = paths.prefixes(config.start.fresh)
  paths.check(fresh, state.params, 'start.fresh')
  old = of_seed(earlier, seed)
  here = paths.flat(state.params)
  if not any(p in here and not paths.inside(p, fresh) for p in paths.flat(old['params'])):
    raise UserError(
      f'--config.start.run={earlier.workdir} shares no parameter with this network; give a run of '
      'the same --config.net.backbone, or fewer parts in --config.start.fresh.'
    )
  check_frozen(config, 'start.run', here, paths.flat(old['params']))
  stats = state.batch_stats
  if config.start.statistics:
    stats = take_over(stats, old['batch_stats'], fresh)
  return state._replace(params=take_over(state.params, old['params'], fresh), batch_stats=stats)


def from_weights(config: ConfigDict, states: Sequence[TrainState]) -> list[TrainState]:
  """Gives fresh states the weights of a pretrained file, as the section `start` says.

  Raises:
    UserError: if the file cannot be read or does not fit, or a run to start from is given too.
  """
  start = config.start
  if start.run:
    raise UserError(
      f'--config.start.run={start.run} and --config.start.weights={start.weights} both say where '
      'to start from; drop one of them.'
    )
  pretrained.check(config.net.backbone, config.net.experts)
  weights = pretrained.read(start.weights)
  fresh = paths.prefixes(start.fresh)

  def one(state: TrainState) -> TrainState:
    paths.check(fresh, state.params, 'start.fresh')
    own = {'params': state.params, 'batch_stats': state.batch_stats}
    old = pretrained.to_variables(weights, own)
    check_frozen(config, 'start.weights', paths.flat(own['params']), paths.flat(old['params']))
    params = take_over(state.params, old['params'], fresh)
    stats = take_over(state.batch_stats, old['batch_stats'], fresh)
    return state._replace(
      params=params, batch_stats=stats if start.statistics else own['batch_stats']
    )

  return [one(state) for state in states]


def teacher_net(earlier: SavedRun) -> ConfigDict:
  """Returns the `net` section of a run, with today's defaults where it is older than a key."""
  return ConfigDict({**NET, **earlier.config['net']})


def check_teacher(
  recipe: Recipe, earlier: SavedRun, teacher: PyTree, size: tuple[int, int, int]
) -> None:
  """Makes sure that a teacher knows the classes of this run.

  Args:
    recipe: with the teacher's network, for the classes of this run.
    earlier: the teacher's run.
    teacher: its variables.
    size: height, width and channels of an image.

  Raises:
    UserError: with the first leaf of another shape.
  """
  net = recipe.teacher
  assert net is not None
  shapes = jax.eval_shape(lambda key: net.init(key, size), jax.random.key(0))
  there = {path: leaf.shape for path, leaf in paths.flat(teacher).items()}
  for path, leaf in paths.flat(shapes).items():
    if there.get(path) != leaf.shape:
      raise UserError(
        f'--config.teacher.run={earlier.workdir} cannot teach this run: its {path} has shape '
        f'{there.get(path)}, and {leaf.shape} is needed for the {recipe.num_classes} classes here; '
        'give a run that was trained on the same classes.'
      )
