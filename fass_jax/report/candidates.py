"""Chooses auxiliary images: candidates whose features are near the class that they look like."""

from __future__ import annotations

import csv
import logging
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fass_jax.classifiers.ncm import class_sums, joined
from fass_jax.command.overrides import override
from fass_jax.data.auxiliary import COLUMNS
from fass_jax.data.images import streaming
from fass_jax.data.sets.folder import scanned
from fass_jax.engine import compiler, devices, predictor
from fass_jax.report.finished import load_data, material_of, place_data
from fass_jax.report.judge import width_of
from fass_jax.report.neighbour_names import plain, read_answer
from fass_jax.types import Array, Outputs, UserError
from fass_jax.workdir.open import FinishedRun

log = logging.getLogger('fass_jax')

FILE = 'neighbours.csv'
QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # percent


class Choice(NamedTuple):
  """A candidate class beside a target: the images of the one, their likeness to the other."""

  name: str  # of the candidate class
  target: int
  paths: Sequence[str]
  cosine: np.ndarray  # float [n], one per path
  inside: np.ndarray  # bool [n], the cosine is within the bounds


def prototypes(run: FinishedRun, sets: Sequence[tuple[str, str]]) -> np.ndarray:
  """Returns the mean feature of the training images of each tested class, float32 `[T, D]`.

  Args:
    run: a finished run; its first seed counts.
    sets: config keys that say where the data are.
  """
  config = override(run.config, sets)
  compiler.use_cache(config.engine.cache)
  where, classes = devices.place(config.engine.devices), len(run.classes)
  kept = place_data(config, load_data(run, config), train=True)
  material = material_of(run, config, kept, where, train=True)
  variables = devices.replicate(run.variables[0], where)

  def sums(total: Array, outs: Outputs, labels: Array, mask: Array) -> Array:
    return total + class_sums(joined(outs), labels, mask, classes)

  assert material.train is not None
  empty = jnp.zeros((classes, width_of(material, variables)))
  total = material.fold(sums, empty, variables, *material.train)
  return np.asarray(total) / np.asarray(run.counts)[:, None]


def cosines(features: np.ndarray, means: np.ndarray) -> np.ndarray:
  """Returns the cosine of each feature to each mean: `[n, D]`, `[T, D]` -> float64 `[n, T]`."""
  a, b = (
    x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    for x in (np.asarray(features, np.float64), np.asarray(means, np.float64))
  )
  return a @ b.T


def _features(run: FinishedRun, paths: Sequence[str]) -> tuple[list[str], np.ndarray]:
  """Returns the files that can be read, and their features `[n, D]`."""
  embed, good, found = predictor.embedder(run, 64), list[str](), []
  with streaming.threads(0) as pool:
    for batch in predictor.load(run, paths, 64, run.config.data.decoder, pool):
      for path, reason in batch.broken:
        log.warning('%s cannot be read: %s', path, reason)
      good += batch.paths
      if batch.paths:
        found.append(embed(batch.images))
  return good, np.concatenate(found) if found else np.zeros((0, 1))


def choose(
  run: FinishedRun,
  means: np.ndarray,
  folder: pathlib.Path,
  answer: Mapping[str, list[int]] | None,
  low: float,
  high: float,
) -> list[Choice]:
  """Compares the images of candidate classes with the targets of these classes.

  Args:
    run: a finished run on images.
    means: `[T, D]`, see `prototypes`.
    folder: one folder of images per candidate class.
    answer: the targets of each candidate class, see `read_answer`; others are left out. None: the
      target is the class with the largest mean cosine.
    low: the smallest cosine of an image that is kept.
    high: the largest one; above it are copies of training images.

  Raises:
    UserError: if a candidate class is tested, or there is none.
  """
  files: dict[str, list[str]] = {}
  for file in scanned(folder):
    files.setdefault(file.label, []).append(file.path)
  both = sorted(set(map(plain, run.classes)) & set(map(plain, files)))
  if both:
    raise UserError(
      f"The folder '{both[0]}' in {folder} is a class that is tested, so it cannot be auxiliary; "
      'remove or rename it.'
    )
  if answer is not None:
    for what, names in (
      ('No folder has images of', sorted(answer.keys() - {plain(name) for name in files})),
      ('The answer does not name', sorted(name for name in files if plain(name) not in answer)),
    ):
      if names:
        log.warning('%s: %s.', what, ', '.join(names))
  found = []
  for name, paths in sorted(files.items()):
    if answer is not None and plain(name) not in answer:
      continue
    good, features = _features(run, paths)
    if good:
      near = cosines(features, means)
      targets = [int(near.mean(0).argmax())] if answer is None else answer[plain(name)]
      for t in dict.fromkeys(targets):
        inside = (near[:, t] >= low) & (near[:, t] <= high)
        found.append(Choice(name, t, good, near[:, t], inside))
  if not found:
    raise UserError(
      f'{folder} has no folder with images of a neighbour in the answer; the folders must be named '
      'like the neighbours.'
    )
  return found


def table(choices: Sequence[Choice], classes: Sequence[str]) -> str:
  """Returns the distribution of the cosines, one line per candidate class and target."""
  names = [choice.name for choice in choices] + ['all']
  targets = [classes[choice.target] for choice in choices] + ['']
  wide, next_ = max(map(len, (*names, 'candidate'))), max(map(len, (*targets, 'target')))
  heads = ['least', *(f'{q} %' for q in QUANTILES[1:-1]), 'most']
  lines = [
    'Cosine of the features to the mean feature of the target, by share of the images:',
    f'  {"candidate":<{wide}}  {"target":<{next_}}  {"images":>6}'
    + ''.join(f'{head:>7}' for head in heads)
    + f'{"kept":>7}',
  ]
  every = np.concatenate([c.cosine for c in choices]), np.concatenate([c.inside for c in choices])
  rows = [*((c.cosine, c.inside) for c in choices), every]
  for name, target, (cosine, inside) in zip(names, targets, rows):
    cells = ''.join(f'{x:>7.3f}' for x in np.percentile(cosine, QUANTILES))
    lines.append(f'  {name:<{wide}}  {target:<{next_}}  {len(cosine):>6}{cells}{inside.sum():>7}')
  return '\n'.join(lines)


def write(
  choices: Sequence[Choice], classes: Sequence[str], source: pathlib.Path, out: pathlib.Path
) -> int:
  """Copies the kept images to `out`, and writes the file of neighbours; returns their number.

  An image is kept if it is within the bounds for one of its targets.

  Raises:
    UserError: if `out` cannot be written.
  """
  kept = {path for c in choices for path, on in zip(c.paths, c.inside) if on}
  try:
    for path in sorted(kept):
      place = out / pathlib.Path(path).relative_to(source)
      place.parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(path, place)
    with open(out / FILE, 'w', encoding='utf-8', newline='') as file:
      rows = csv.writer(file, lineterminator='\n')
      rows.writerow(COLUMNS)
      rows.writerows([classes[c.target], c.name] for c in choices if c.inside.any())
  except OSError as error:
    raise UserError(
      f'--out={out} cannot be written ({error.strerror}); give another folder.'
    ) from error
  return len(kept)


def find(run: FinishedRun, flags: Mapping[str, str], sets: Sequence[tuple[str, str]]) -> None:
  """Chooses and writes auxiliary images, and prints the distribution of the cosines.

  Args:
    run: a finished run on images.
    flags: those of the command `fass_jax.neighbours`.
    sets: config keys that say where the data are.

  Raises:
    UserError: if a folder or file is missing, or no image is within the bounds.
  """
  source, out = (pathlib.Path(flags[name]).expanduser() for name in ('--candidates', '--out'))
  if run.reads_rows:
    raise UserError(f'{flags["--workdir"]} classifies rows; candidates are chosen for images only.')
  if not source.is_dir():
    raise UserError(
      f'--candidates={source} is no folder; give one with a folder of images per candidate class.'
    )
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise UserError(f'--out={out} exists already and is not empty; give a new folder.')
  answer = read_answer(flags['--answer'], run.classes) if flags['--answer'] else None
  low, high = float(flags['--low']), float(flags['--high'])
  choices = choose(run, prototypes(run, sets), source, answer, low, high)
  print(table(choices, run.classes))
  if not any(c.inside.any() for c in choices):
    raise UserError(
      f'No image has a cosine in [{low:g}, {high:g}]; choose --low and --high by the table above.'
    )
  kept = write(choices, run.classes, source, out)
  print(
    f'{kept} images are kept. Train with\n'
    f'  --config.data.auxiliary={out} --config.data.neighbours={out / FILE}'
  )
