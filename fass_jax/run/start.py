"""Initial parameters and teachers from an earlier run or from a file of weights."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Collection, Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fass_jax.config import stages
from fass_jax.config.deltas import flatten
from fass_jax.config.keys import KEYS, NET
from fass_jax.engine.devices import copy
from fass_jax.nets import paths, pretrained
from fass_jax.recipe.build import Recipe
from fass_jax.types import Placement, PyTree, TrainState, UserError
from fass_jax.workdir.open import SavedRun, read

log = logging.getLogger('fass_jax')


def named(config: ConfigDict, section: str, workdir: pathlib.Path) -> SavedRun:
  """Reads the earlier run of the section 'start' or 'teacher', for a run in `workdir`.

  Raises:
    UserError: as in `read`; if it is the same run, or it may have trained on held-out images.
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
  """Returns the variables of this seed in an earlier run, or of its first seed if it is missing."""
  first, n = earlier.config['seed'], len(earlier.variables)
  there = seed if first <= seed < first + n else first
  log.info('%s: seed %d of %s.', earlier.flag, there, earlier.workdir)
  return earlier.variables[there - first]


def of_seeds(earlier: SavedRun, seed: int, seeds: int, where: Placement) -> list[PyTree]:
  """Returns the variables of `of_seed` for several seeds, replicated on the devices.

  The result for a seed does not depend on the other seeds. Equal variables are stored once.
  """
  found = [of_seed(earlier, seed + i) for i in range(seeds)]
  there = {id(x): copy(x, where) for x in found}
  return [there[id(x)] for x in found]


def check_held_out(config: ConfigDict, earlier: SavedRun) -> None:
  """Checks that an earlier run did not train on the held-out images of this run.

  Raises:
    UserError: if keys that define the training set differ; the message lists them.
  """
  if not config.data.held_out:
    return
  then, now = (
    flatten({'data': c['data'], 'imb_factor': c['imb_factor']})
    for c in (earlier.config, config.to_dict())
  )
  keys = ('data.kind', 'data.held_out', 'data.subset_seed', 'data.profile', 'imb_factor',
          'data.auxiliary', 'data.neighbours')  # fmt: skip
  then = {k: then.get(k, KEYS[k].default) for k in keys}
  other = [f'{k} {then[k]} there, {now[k]} here' for k in keys if then[k] != now[k]]
  if other:
    raise UserError(
      f'{earlier.flag}={earlier.workdir} may have trained on images that are held out here '
      f'({", ".join(other)}); train that run with the same values, or set '
      '--config.data.held_out=0.'
    )


def check_frozen(config: ConfigDict, key: str, here: Collection[str], old: Collection[str]) -> None:
  """Checks that no parameter is frozen at its random initial value.

  Args:
    config: the config; reads the sections `start` and `optim`.
    key: the config key of the earlier run or the weights.
    here: paths of this network's parameters.
    old: paths of the parameters to copy.

  Raises:
    UserError: for the first parameter that is neither copied nor trained, or for frozen batch
      statistics at their initial values.
  """
  only, fresh = paths.prefixes(config.optim.only), paths.prefixes(config.start.fresh)
  if not only or '' in only:
    return
  for path in here:
    if (path not in old or paths.inside(path, fresh)) and not paths.inside(path, only):
      raise UserError(
        f'--config.{key}={config.start[key.partition(".")[2]]} does not provide {path}, which is '
        'frozen here and would keep its random initial values; give a run with the same '
        '--config.net values, or train that part too (--config.optim.only).'
      )
  if not config.start.statistics and config.optim.frozen_statistics == 'keep':
    raise UserError(
      'With --config.start.statistics=False the frozen parts would keep their initial batch '
      'statistics; set --config.start.statistics=True or --config.optim.frozen_statistics=drift.'
    )


def take_over(new: PyTree, old: PyTree, fresh: Sequence[str]) -> PyTree:
  """Returns `new` with copies of the leaves that `old` also has.

  Args:
    new: a tree with initial values, which remain for leaves missing in `old` and for the parts
      `fresh`.
    old: the tree of an earlier run.
    fresh: path prefixes.

  Raises:
    UserError: if a leaf has another shape.
  """
  known = paths.flat(old)

  def leaf(path: str, value: jax.Array) -> jax.Array:
    if path not in known or paths.inside(path, fresh):
      return value
    if known[path].shape != value.shape:
      raise UserError(
        f'--config.start.run has {path} of shape {known[path].shape}, but this network needs '
        f'{value.shape}; use the same --config.net values, or initialise this part randomly with '
        f'--config.start.fresh="(\'{path.split("/")[0]}\',)".'
      )
    # a copy, because several seeds may use the same leaf, and a train state is donated
    return jnp.copy(known[path]).astype(value.dtype)

  return paths.mapped(leaf, new)


def start_from(config: ConfigDict, earlier: SavedRun, seed: int, state: TrainState) -> TrainState:
  """Returns an initial state with the parameters of an earlier run, as set in the section `start`.

  The optimiser's momentum, the signals and the step remain at zero.

  Raises:
    UserError: if a leaf has another shape, or no parameter can be copied.
  """
  fresh = paths.prefixes(config.start.fresh)
  paths.check(fresh, state.params, 'start.fresh')
  old = of_seed(earlier, seed)
  here = paths.flat(state.params)
  if not any(p in here and not paths.inside(p, fresh) for p in paths.flat(old['params'])):
    raise UserError(
      f'--config.start.run={earlier.workdir} shares no parameter with this network; give a run '
      'with the same --config.net.backbone, or fewer parts in --config.start.fresh.'
    )
  check_frozen(config, 'start.run', here, paths.flat(old['params']))
  stats = state.batch_stats
  if config.start.statistics:
    stats = take_over(stats, old['batch_stats'], fresh)
  return state._replace(params=take_over(state.params, old['params'], fresh), batch_stats=stats)


def from_weights(config: ConfigDict, states: Sequence[TrainState]) -> list[TrainState]:
  """Returns initial states with weights from a pretrained file, as set in the section `start`.

  Raises:
    UserError: if the file cannot be read or does not fit, or a start run is given too.
  """
  start = config.start
  if start.run:
    raise UserError(
      f'--config.start.run={start.run} and --config.start.weights={start.weights} both set the '
      'initial parameters; remove one of them.'
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
  """Returns the section `net` of a run, with current defaults for keys that it does not have."""
  return ConfigDict({**NET, **earlier.config['net']})


def check_teacher(
  recipe: Recipe, earlier: SavedRun, teacher: PyTree, size: tuple[int, ...]
) -> None:
  """Checks that a teacher has the classes of this run.

  Args:
    recipe: the recipe with the teacher's network, built for the classes of this run.
    earlier: the teacher's run.
    teacher: variables of the teacher.
    size: height, width and channels of an image, or the length of a row.

  Raises:
    UserError: for the first leaf with another shape.
  """
  net = recipe.teacher
  assert net is not None
  shapes = jax.eval_shape(lambda key: net.init(key, size), jax.random.key(0))
  there = {path: leaf.shape for path, leaf in paths.flat(teacher).items()}
  for path, leaf in paths.flat(shapes).items():
    if there.get(path) != leaf.shape:
      raise UserError(
        f'--config.teacher.run={earlier.workdir} cannot be the teacher of this run: its {path} has '
        f'shape {there.get(path)}, but the {recipe.num_classes} classes here need {leaf.shape}; '
        'give a run that was trained on the same classes.'
      )
