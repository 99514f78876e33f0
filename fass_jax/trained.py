"""A run as a function from images to class probabilities; its training data are not needed."""

from __future__ import annotations

import functools
import json
import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fass_jax import checkpoint, feed, nets, recipe, shown
from fass_jax.config import base_config
from fass_jax.data import decode
from fass_jax.data.encoded import Paths
from fass_jax.losses.prior import post_hoc
from fass_jax.nets.base import apply, test_logits
from fass_jax.programs import compiler_options
from fass_jax.types import Array, PyTree, UserError

log = logging.getLogger('fass_jax')

NOTES = ('classes', 'counts', 'side', 'centre', 'upright', 'mean', 'std')


class Trained(NamedTuple):
  """A run of one seed or several, as its newest checkpoint has it."""

  config: ConfigDict
  net: nets.Network
  lanes: list[PyTree]  # by seed: params and batch_stats
  at: str  # where in the run, for people
  classes: tuple[str, ...]  # names
  counts: tuple[int, ...]  # training images of each class
  how: dict[str, Any]  # of `shown.how`: how an image becomes what the network sees


class Loaded(NamedTuple):
  """A batch of images."""

  paths: list[str]  # of those that could be read
  images: np.ndarray  # uint8 [len(paths), side, side, 3]
  broken: list[tuple[str, str]]  # the others: path, reason


def open_run(workdir: str, which: str = 'last') -> Trained:
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
  lanes = meta and checkpoint.variables(folder, 'best' if which == 'best' else 'state')
  if not meta or not lanes:
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
  return Trained(
    config=config,
    net=recipe.network(config.net, config.engine, len(notes['classes'])),
    lanes=lanes,
    at=f'epoch {", ".join(map(str, best))}' if which == 'best' else f'step {meta["step"]}',
    classes=tuple(notes['classes']),
    counts=tuple(notes['counts']),
    how={name: notes[name] for name in NOTES[2:]},
  )


def load(
  run: Trained, paths: Sequence[str], size: int, decoder: str, pool: ThreadPoolExecutor
) -> Iterator[Loaded]:
  """Yields images as the run's test images are shown, `size` files at a time.

  Threads decode ahead; a file that cannot be read does not keep the others waiting.

  Args:
    run: for the side of the square, the share of the image that it shows, and the like.
    paths: of image files.
    size: files in a batch.
    decoder: a key of `decode.DECODERS`.
    pool: the threads.
  """
  box, side = decode.centre(run.how['centre']), run.how['side']
  read = decode.decoder(decoder, Paths(paths, run.how['upright']))

  def one(path: str) -> np.ndarray | str:
    try:
      return read(pathlib.Path(path).read_bytes(), box, side)
    except decode.Broken as error:
      return str(error)
    except OSError as error:
      return error.strerror or str(error)

  def start(first: int) -> list[Future]:
    return [pool.submit(one, path) for path in paths[first : first + size]]

  starts = range(0, len(paths), size)
  for first, work in zip(starts, feed.ahead(functools.partial(start, i) for i in starts)):
    done = [(path, w.result()) for path, w in zip(paths[first : first + size], work)]
    good = [(path, x) for path, x in done if not isinstance(x, str)]
    yield Loaded(
      [path for path, _ in good],
      np.stack([x for _, x in good]) if good else np.zeros((0, side, side, 3), np.uint8),
      [(path, x) for path, x in done if isinstance(x, str)],
    )


def predictor(
  run: Trained, size: int, prior: tuple[np.ndarray, np.ndarray] | None = None
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns `predict(uint8 [n, side, side, 3]) -> float32 [n, C]`, probabilities, n <= `size`.

  The mean over the seeds of softmax(z), z the logits that metrics read, moved by `post_hoc` where
  there is a prior. One program, for a batch that is padded to `size`.

  Args:
    run: from `open_run`.
    size: rows of the program's batch.
    prior: the prior that the logits imply and the one that is expected, each `[C]`.
  """
  normalise = shown.normaliser(run.how['mean'], run.how['std'])
  moved = prior and (jnp.asarray(prior[0], float), jnp.asarray(prior[1], float))

  @functools.partial(jax.jit, compiler_options=compiler_options())
  def program(variables: PyTree, images: Array, prior: tuple[Array, Array] | None) -> Array:
    outs, _ = apply(run.net, variables, normalise(images), False)
    logits = test_logits(outs)
    if prior is not None:
      logits = post_hoc(logits, *prior)
    return jax.nn.softmax(jnp.asarray(logits, float), axis=-1)

  def predict(images: np.ndarray) -> np.ndarray:
    padded = np.zeros((size, *images.shape[1:]), np.uint8)
    padded[: len(images)] = images
    each = [program(variables, padded, moved) for variables in run.lanes]
    return np.asarray(sum(each[1:], each[0]) / len(each))[: len(images)]

  return predict
