"""Class probabilities for images or rows from a finished run, without its training data."""

from __future__ import annotations

import functools
import itertools
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
from fass_jax.data.sets.table import Table, encode, read_table, wrong_cell
from fass_jax.engine import compiler
from fass_jax.nets.base import apply, mean_logits, of_tested
from fass_jax.recipe import images as shown
from fass_jax.recipe.tasks import task_of
from fass_jax.types import Array, Column, PyTree, UserError
from fass_jax.workdir.open import FinishedRun

log = logging.getLogger('fass_jax')


class Loaded(NamedTuple):
  """A batch of images, or of rows."""

  paths: list[str]  # files that could be read; of rows `FILE:LINE`
  images: np.ndarray  # uint8 [len(paths), side, side, 3], or rows, float32 [len(paths), F]
  broken: list[tuple[str, str]]  # (path, reason) of the others


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


class Rows(NamedTuple):
  """Rows of tables that are to be classified."""

  tables: list[Table]
  columns: tuple[Column, ...]  # that the network reads
  names: list[str]  # `FILE:LINE` per row


def open_rows(run: FinishedRun, paths: Sequence[str]) -> Rows:
  """Reads the tables with the rows that a run on a table is to classify.

  Other columns than those of the run are ignored, such as the class.

  Args:
    run: a run on rows of a table.
    paths: CSV files.

  Raises:
    UserError: if the run's rows come from no table, a file cannot be read or lacks a column.
  """
  columns = tuple(Column(name, tuple(words)) for name, words in run.preparation['columns'])
  if not columns:
    raise UserError(
      f'This run classifies rows of {len(run.preparation["mean"])} numbers that come from no '
      'table, so files cannot be classified; use fass_jax.evaluate.'
    )
  tables, names = [], []
  for path in paths:
    if not pathlib.Path(path).is_file():
      raise UserError(f"There is no file '{path}'; this run classifies the rows of CSV files.")
    table = read_table(path)
    missing = [c.name for c in columns if c.name not in table.names]
    if missing:
      raise UserError(
        f"{path} has no column '{missing[0]}', which the run was trained with ({len(columns)} "
        f'columns, {len(missing)} missing here); add it.'
      )
    tables.append(table)
    names += [f'{path}:{line}' for line in table.lines]
  return Rows(tables, columns, names)


def load_rows(rows: Rows, size: int) -> Iterator[Loaded]:
  """Yields the rows in batches of `size`; a row with a bad cell does not stop the others."""
  names = iter(rows.names)
  for table in rows.tables:
    for first in range(0, len(table.cells), size):
      part = table.at(range(first, min(first + size, len(table.cells))))
      wrong = [
        (name, wrong_cell(part, i, rows.columns))
        for i, name in enumerate(itertools.islice(names, len(part.cells)))
      ]
      good = [i for i, (_, reason) in enumerate(wrong) if not reason]
      yield Loaded(
        [wrong[i][0] for i in good],
        encode(part.at(good), rows.columns),
        [(name, reason) for name, reason in wrong if reason],
      )


def predictor(
  run: FinishedRun, size: int, prior: tuple[np.ndarray, np.ndarray] | None = None
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns `predict(images) -> float32 [n, C]`, probabilities, n <= `size`.

  The images are uint8 `[n, side, side, 3]`; rows are float32 `[n, F]`.

  The result is the mean of softmax(z) over the seeds. z are the logits, moved by `post_hoc` if a
  prior is given. If the run predicts numbers, the result is their mean over the seeds, float32
  `[n]`, in the unit of the label. Batches are padded to `size`, so that one program suffices.

  Args:
    run: a result of `open_run`.
    size: rows of the padded batch.
    prior: the prior that the logits imply and the target prior, each `[C]`; None: no change.
  """
  normalise = shown.normaliser_of(run.preparation)
  moved = prior and (jnp.asarray(prior[0], float), jnp.asarray(prior[1], float))
  values = task_of(run.config, run.preparation.get('scale')).values

  @functools.partial(jax.jit, compiler_options=compiler.compiler_options())
  def program(variables: PyTree, images: Array, prior: tuple[Array, Array] | None) -> Array:
    outs, _ = apply(run.net, variables, normalise(images), False)
    if values is not None:
      return values(outs)
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


def embedder(run: FinishedRun, size: int) -> Callable[[np.ndarray], np.ndarray]:
  """Returns `embed(images) -> float32 [n, D]`, the input of the first seed's head, n <= `size`.

  The features of experts stand side by side.

  Args:
    run: a result of `open_run`.
    size: rows of the padded batch.
  """
  normalise, variables = shown.normaliser_of(run.preparation), run.variables[0]

  @functools.partial(jax.jit, compiler_options=compiler.compiler_options())
  def program(variables: PyTree, images: Array) -> Array:
    outs, _ = apply(run.net, variables, normalise(images), False)
    return outs.features.reshape(size, -1)

  def embed(images: np.ndarray) -> np.ndarray:
    padded = np.zeros((size, *images.shape[1:]), images.dtype)
    padded[: len(images)] = images
    return np.asarray(program(variables, padded))[: len(images)]

  return embed
