"""Class probabilities for images from a finished run, without its training data."""

from __future__ import annotations

import functools
import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.classifiers.prior_shift import post_hoc
from fass_jax.data.images import ahead, decode
from fass_jax.data.images.encoded import Paths
from fass_jax.engine import compiler
from fass_jax.nets.base import apply, mean_logits, of_tested
from fass_jax.recipe import images as shown
from fass_jax.types import Array, PyTree
from fass_jax.workdir.open import FinishedRun

log = logging.getLogger('fass_jax')


class Loaded(NamedTuple):
  """A batch of images."""

  paths: list[str]  # files that could be read
  images: np.ndarray  # uint8 [len(paths), side, side, 3]
  broken: list[tuple[str, str]]  # (path, reason) of the other files


def load(
  run: FinishedRun, paths: Sequence[str], size: int, decoder: str, pool: ThreadPoolExecutor
) -> Iterator[Loaded]:
  """Yields images with the run's test-time preparation, in batches of `size` files.

  Threads decode in advance. A broken file does not stop the others.

  Args:
    run: the run with the side of the input, the centre crop and the orientation.
    paths: image files.
    size: files per batch.
    decoder: a key of `decode.DECODERS`.
    pool: the decoding threads.
  """
  box, side = decode.centre(run.preparation['centre']), run.preparation['side']
  read = decode.decoder(decoder, Paths(paths, run.preparation['upright']))

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
  for first, work in zip(starts, ahead.ahead(functools.partial(start, i) for i in starts)):
    done = [(path, w.result()) for path, w in zip(paths[first : first + size], work)]
    good = [(path, x) for path, x in done if not isinstance(x, str)]
    yield Loaded(
      [path for path, _ in good],
      np.stack([x for _, x in good]) if good else np.zeros((0, side, side, 3), np.uint8),
      [(path, x) for path, x in done if isinstance(x, str)],
    )


def predictor(
  run: FinishedRun, size: int, prior: tuple[np.ndarray, np.ndarray] | None = None
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns `predict(images) -> float32 [n, C]`, probabilities, n <= `size`.

  The images are uint8 `[n, side, side, 3]`; rows are float32 `[n, F]`.

  The result is the mean of softmax(z) over the seeds. z are the logits, moved by `post_hoc` if a
  prior is given. Batches are padded to `size`, so that one program suffices.

  Args:
    run: a result of `open_run`.
    size: rows of the padded batch.
    prior: the prior that the logits imply and the target prior, each `[C]`; None: no change.
  """
  normalise = shown.normaliser_of(run.preparation)
  moved = prior and (jnp.asarray(prior[0], float), jnp.asarray(prior[1], float))

  @functools.partial(jax.jit, compiler_options=compiler.compiler_options())
  def program(variables: PyTree, images: Array, prior: tuple[Array, Array] | None) -> Array:
    outs, _ = apply(run.net, variables, normalise(images), False)
    logits = mean_logits(of_tested(outs, len(run.classes)))
    if prior is not None:
      logits = post_hoc(logits, *prior)
    return jax.nn.softmax(jnp.asarray(logits, float), axis=-1)

  def predict(images: np.ndarray) -> np.ndarray:
    padded = np.zeros((size, *images.shape[1:]), images.dtype)
    padded[: len(images)] = images
    each = [program(variables, padded, moved) for variables in run.variables]
    return np.asarray(sum(each[1:], each[0]) / len(each))[: len(images)]

  return predict
