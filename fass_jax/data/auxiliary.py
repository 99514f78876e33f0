"""Auxiliary classes: look-alikes of the tested classes, trained beside them and never tested.

A CSV file with the columns `target` and `neighbour` says which auxiliary class looks like which
tested class. Its auxiliary classes come from a source: classes of the data set itself, those of
another data set, or a folder of images.
"""

from __future__ import annotations

import csv
import logging
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fass_jax.config.deltas import config_dir
from fass_jax.config.lookup import did_you_mean
from fass_jax.counts import class_counts
from fass_jax.data.images import decode, streaming
from fass_jax.data.images.encoded import Joined, Part, Paths
from fass_jax.data.sets.cifar import load_cifar
from fass_jax.data.sets.subset import long_tail_indices
from fass_jax.types import Dataset, Pictures, Squares, UserError

log = logging.getLogger('fass_jax')

Pairs = list[tuple[str, str]]  # (target, neighbour)
Loader = Callable[[ConfigDict], Dataset]
COLUMNS = ('target', 'neighbour')


class Extra(NamedTuple):
  """The training images of auxiliary classes."""

  images: np.ndarray | Pictures  # uint8 [M, H, W, 3], or encoded
  labels: np.ndarray  # int32 [M], 0 .. A-1
  names: tuple[str, ...]  # A names


def read_pairs(path: str) -> Pairs:
  """Returns the pairs of a file of neighbours, each once; shipped files are found from anywhere.

  Raises:
    UserError: if the file is missing or unreadable, lacks a column, or a line has an empty cell.
  """
  places = pathlib.Path(path).expanduser(), config_dir() / path
  found = next((p for p in places if p.is_file()), None)
  if found is None:
    raise UserError(
      f'--config.data.neighbours={path} does not exist; give a CSV file with the columns '
      f'{",".join(COLUMNS)}.'
    )
  try:
    rows = list(csv.DictReader(found.read_text(encoding='utf-8-sig').splitlines()))
  except (OSError, ValueError) as error:
    raise UserError(f'--config.data.neighbours={path} cannot be read ({error}).') from error
  if not rows or not set(COLUMNS) <= rows[0].keys():
    raise UserError(
      f'--config.data.neighbours={path} has no pairs; its first line must be '
      f'{",".join(COLUMNS)}, and each other line a class that is tested and an auxiliary class.'
    )
  pairs = [tuple((row[c] or '').strip() for c in COLUMNS) for row in rows]
  for line, pair in enumerate(pairs, 2):
    if not all(pair):
      raise UserError(
        f'--config.data.neighbours={path}: line {line} lacks a class; fill in both columns, or '
        'delete the line.'
      )
  return list(dict.fromkeys((target, neighbour) for target, neighbour in pairs))


def neighbour_matrix(pairs: Pairs, names: Sequence[str]) -> np.ndarray:
  """Returns bool `[C, C]`: True for the two classes of a pair, in both orders."""
  number = {name: i for i, name in enumerate(names)}
  near = np.zeros((len(names), len(names)), bool)
  for pair in pairs:
    a, b = (number[name] for name in pair)
    near[a, b] = near[b, a] = True
  return near


def _known(wanted: Iterable[str], known: Sequence[str], what: str) -> None:
  """Checks that the names of a file of neighbours exist."""
  for name in wanted:
    if name not in known:
      raise UserError(
        f"The file of --config.data.neighbours names the {what} '{name}', which does not exist"
        f'{did_you_mean(name, known)}'
      )


def _named(pairs: Pairs, names: Sequence[str]) -> tuple[str, ...]:
  """Returns the neighbours of some pairs in the order of `names`."""
  wanted = {neighbour for _, neighbour in pairs}
  _known(sorted(wanted), names, 'neighbour')
  return tuple(name for name in names if name in wanted)


def _both(names: Iterable[str], tested: Iterable[str]) -> None:
  """Checks that no auxiliary class is tested."""
  both = sorted(set(names) & set(tested))
  if both:
    raise UserError(
      f"The auxiliary class '{both[0]}' is a target too; a class is either tested or auxiliary, so "
      'remove it from one side.'
    )


def _chosen(labels: np.ndarray, classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
  """Returns the positions of the images of some classes, and their numbers in `classes`."""
  new = np.full(int(labels.max()) + 1, -1, np.int32)
  new[list(classes)] = np.arange(len(classes))
  place = np.flatnonzero(new[labels] >= 0)
  return place, new[labels[place]]


def of_own(config: ConfigDict, loader: Loader, pairs: Pairs) -> tuple[Dataset, Extra]:
  """Sets the classes aside that the file of neighbours names, with all their training images.

  The other T classes are a long-tailed set of their own: `class_counts` for T classes, selected as
  in `subset.long_tail_indices`.

  Raises:
    UserError: if a class is on both sides, or fewer than two classes remain.
  """
  whole_config = config.copy_and_resolve_references().unlock()
  whole_config.imb_factor, whole_config.data.profile = 1.0, 'balanced'
  whole = loader(whole_config)
  if not isinstance(whole.train_images, np.ndarray) or not isinstance(
    whole.test_images, np.ndarray
  ):
    raise UserError(
      f'--config.data.auxiliary=own has no effect on the class counts of {whole.name}; give a '
      'folder of images, --config.data.auxiliary=DIR.'
    )
  aside = _named(pairs, whole.class_names)
  _both(aside, (target for target, _ in pairs))
  kept = tuple(name for name in whole.class_names if name not in aside)
  if len(kept) < 2:
    raise UserError(
      f'The file of --config.data.neighbours sets {len(aside)} of {len(whole.class_names)} classes '
      'aside; at least two must remain.'
    )
  number = whole.class_names.index
  order = np.argsort(whole.train_index, kind='stable')  # the original order, as the seed expects
  place, labels = _chosen(whole.train_labels[order], [number(name) for name in kept])
  counts = class_counts(
    int(np.bincount(labels).max()), len(kept), config.imb_factor, config.data.profile
  )
  own = long_tail_indices(labels, counts, config.data.subset_seed)
  train, test = order[place[own]], _chosen(whole.test_labels, [number(name) for name in kept])
  data = whole._replace(
    train_images=whole.train_images[train],
    train_labels=labels[own],
    train_index=whole.train_index[train],
    test_images=whole.test_images[test[0]],
    test_labels=test[1],
    class_names=kept,
  )
  extra, labels = _chosen(whole.train_labels, [number(name) for name in aside])
  return data, Extra(whole.train_images[extra], labels, aside)


def of_cifar100(config: ConfigDict, loader: Loader, pairs: Pairs) -> tuple[Dataset, Extra]:
  """Takes the classes of CIFAR-100 that the file of neighbours names, 500 images each."""
  d = config.data
  data = loader(config)
  whole = load_cifar(100, imb_factor=1.0, profile='balanced', dir=d.dir, cache=d.cache)
  assert isinstance(whole.train_images, np.ndarray)
  names = _named(pairs, whole.class_names)
  place, labels = _chosen(whole.train_labels, [whole.class_names.index(name) for name in names])
  return data, Extra(whole.train_images[place], labels, names)


def of_folder(config: ConfigDict, loader: Loader, pairs: Pairs) -> tuple[Dataset, Extra]:
  """Reads a folder with one folder of images per auxiliary class.

  Raises:
    UserError: if there is no such folder, or a class has no intact image.
  """
  from fass_jax.data.sets.folder import intact, scanned  # late: arrays need no decoder

  data, d = loader(config), config.data
  root = pathlib.Path(d.auxiliary).expanduser()
  if not root.is_dir():
    raise UserError(
      f'--config.data.auxiliary={d.auxiliary} is neither a folder of images nor a source of '
      f'classes{did_you_mean(d.auxiliary, SOURCES)}'
    )
  files = intact(root, scanned(root), d)
  names = tuple(sorted({file.label for file in files}))
  _known(dict.fromkeys(neighbour for _, neighbour in pairs), names, 'neighbour')
  labels = np.asarray([names.index(file.label) for file in files], np.int32)
  pictures = Paths(tuple(file.path for file in files), upright=True)
  if not isinstance(data.train_images, np.ndarray):
    return data, Extra(pictures, labels, names)
  if data.is_rows:
    raise UserError(
      f'--config.data.auxiliary={d.auxiliary} has images, but the examples of {data.name} are rows '
      'of numbers; remove this flag.'
    )
  # arrays have no later step that decodes: whole images, at the size of the arrays
  with streaming.threads(d.workers) as pool:
    reader = streaming.open_reader(pictures, data.train_images.shape[1], d.decoder, pool)
    images = streaming.load_all(reader, lambda i: decode.whole, lambda work: work)
  return data, Extra(images, labels, names)


SOURCES: dict[str, Callable[[ConfigDict, Loader, Pairs], tuple[Dataset, Extra]]] = {
  'own': of_own,
  'cifar100': of_cifar100,
}


def load(config: ConfigDict, loader: Loader) -> Dataset:
  """Returns a data set with its auxiliary classes, if the config names any.

  Their images stand after those of the tested classes, and so do their names.

  Args:
    config: the config; reads `auxiliary`, `neighbours`, `auxiliary_images` of the section `data`.
    loader: returns the data set of a config, without auxiliary classes.

  Raises:
    UserError: if the file of neighbours or a class that it names is missing, an auxiliary class is
      tested too, or the images do not fit those of the data set.
  """
  d = config.data
  if not d.auxiliary and not d.neighbours:
    return loader(config)
  if not d.auxiliary or not d.neighbours:
    given, missing = ('neighbours', 'auxiliary') if d.neighbours else ('auxiliary', 'neighbours')
    raise UserError(
      f'--config.data.{given}={d[given]} has no effect without --config.data.{missing}; give both, '
      'or neither.'
    )
  pairs = read_pairs(d.neighbours)
  data, extra = SOURCES.get(d.auxiliary, of_folder)(config, loader, pairs)
  _both(extra.names, data.class_names)
  _known(dict.fromkeys(target for target, _ in pairs), data.class_names, 'target')
  alone = set(extra.names) - {neighbour for _, neighbour in pairs}
  if alone:
    log.warning('%d auxiliary classes have no target: %s.', len(alone), ', '.join(sorted(alone)))
  return join(data, _limited(extra, d.auxiliary_images), pairs) if d.auxiliary_images else data


def _limited(extra: Extra, most: int) -> Extra:
  """Keeps the first images of each class, at most `most`; -1 keeps all."""
  if most < 0:
    return extra
  each = [np.flatnonzero(extra.labels == c)[:most] for c in range(len(extra.names))]
  kept = np.sort(np.concatenate(each))
  images = extra.images[kept] if isinstance(extra.images, np.ndarray) else Part(extra.images, kept)
  return extra._replace(images=images, labels=extra.labels[kept])


def join(data: Dataset, extra: Extra, pairs: Pairs) -> Dataset:
  """Adds auxiliary classes to a data set.

  Raises:
    UserError: if the images are of another kind or size.
  """
  own, more = data.train_images, extra.images
  images: np.ndarray | Pictures
  if isinstance(own, np.ndarray) and isinstance(more, np.ndarray):
    if own.shape[1:] != more.shape[1:]:
      raise UserError(
        f'The auxiliary images have the shape {more.shape[1:]}, but those of {data.name} have '
        f'{own.shape[1:]}; choose auxiliary classes of the same size.'
      )
    images = np.concatenate([own, more])
  elif isinstance(own, np.ndarray | Squares) or isinstance(more, np.ndarray):
    raise UserError(
      f'The auxiliary classes are arrays, but the images of {data.name} are files; give a folder, '
      '--config.data.auxiliary=DIR.'
    )
  else:
    images = Joined(own, more)
  names = (*data.class_names, *extra.names)
  index = data.train_index.max() + 1 + np.arange(len(extra.labels))
  return data._replace(
    train_images=images,
    train_labels=np.concatenate([data.train_labels, extra.labels + len(data.class_names)]),
    train_index=np.concatenate([data.train_index, index.astype(np.int32)]),
    class_names=names,
    auxiliary=len(extra.names),
    neighbours=neighbour_matrix(pairs, names),
  )
