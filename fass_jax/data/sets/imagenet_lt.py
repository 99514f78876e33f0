"""ImageNet-LT, Places-LT and iNaturalist 2018: published lists of images that the user provides.

Images in an unpacked folder are read from there. Images from the archives of ILSVRC 2012, and
images to be resized, are prepared once in the cache, where later runs find them.
"""

from __future__ import annotations

import functools
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fass_jax.config.cache import cache_dir
from fass_jax.data.images import checks, lists, originals
from fass_jax.data.images.encoded import Paths
from fass_jax.data.images.lists import KNOWN, Known
from fass_jax.data.images.originals import Part, Source
from fass_jax.types import Dataset, UserError

log = logging.getLogger('fass_jax')

SIDE = 224


def load_listed(kind: str, config: ConfigDict) -> Dataset:
  """Returns a set of listed images: the train list, and the test or val list.

  The images are in the order of their lists; `train_index` is the line, from 0.

  Args:
    kind: 'imagenet_lt', 'places_lt' or 'inat18'.
    config: the config; reads `dir` (the images), `lists`, `cache`, `split`, `shrink`, `max_broken`,
      `workers` and `image_size` of the section `data`.

  Returns:
    Dataset of `types.Pictures`; labels and train_index int32.

  Raises:
    UserError: if images or lists are missing, incomplete or damaged, or too many images are broken.

  Reference: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, arXiv:1904.05160; Van
  Horn et al., The iNaturalist Species Classification and Detection Dataset, arXiv:1707.06642.
  """
  known, d = KNOWN[kind], config.data
  held = lists.evaluated(known, d.split)
  if d.shrink < 0:
    raise UserError(f'--config.data.shrink={d.shrink} is negative; 0 means no resizing.')
  root, source = cache_dir(d.cache), originals.find_source(kind, d.dir)
  found = lists.find_lists(known, (d.lists, d.dir))
  if d.lists and not found:
    files = ', '.join(p.file for p in known.lists.values())
    raise UserError(
      f'--config.data.lists={d.lists} contains none of {files} (or .gz); put the lists there.'
    )
  if source is not None and not source.tars and not d.shrink:
    parts = _read_parts(kind, config, found, _wanted(known, held, found), root)
    return _from_folder(kind, config, source, parts, held, root)
  sums = {split: lists.sum_of(path) for split, path in found.items()}
  total = {s: sums.get(s) or known.lists[s].sha256 for s in _wanted(known, held, found, sums)}
  name = f'{kind}_{lists.fingerprint(total)}' + (f'_short{d.shrink}' if d.shrink else '')
  from fass_jax.data.images import image_records  # late: a folder needs no tfds

  if not all(total.values()) or not image_records.is_prepared(name, root):
    if source is None:
      raise UserError(needs(kind, d, root))
    parts = _read_parts(kind, config, found, total, root)
    met = originals.in_tars if source.tars else originals.in_folder
    image_records.prepare(
      name,
      root,
      image_records.Plan(
        parts,
        _class_names(parts),
        functools.partial(met, source, parts),
        d.shrink,
        checks.threads(d.workers),
        d.max_broken,
      ),
    )
  return _from_records(kind, config, image_records.read(name, root), name, held, root)


def _wanted(
  known: Known, held: str, found: Mapping[str, pathlib.Path], sums: Mapping[str, str] | None = None
) -> list[str]:
  """Returns the splits of the set: those with a list, and those that the run needs.

  If a list is the user's own, the set has no further splits. Otherwise it also has the published
  splits that are available.
  """
  if sums is None:
    return [s for s in known.lists if s in ('train', held)]
  published = all(total == known.lists[split].sha256 for split, total in sums.items())
  more = known.lists if not found else _fetchable(known) if published else ()
  return [s for s in known.lists if s in found or s in ('train', held) or s in more]


def _fetchable(known: Known) -> tuple[str, ...]:
  return tuple(known.lists) if known is KNOWN['imagenet_lt'] else ()


def _read_parts(
  kind: str, config: ConfigDict, found: Mapping[str, pathlib.Path], wanted: Any, root: pathlib.Path
) -> dict[str, Part]:
  """Returns the requested lists, from the user's files or, for ImageNet-LT, through tfds."""
  known, parts = KNOWN[kind], {}
  for split in wanted:
    if split in found:
      listing = lists.read_list(found[split])
      lists.say_if_own(known, split, found[split], lists.sum_of(found[split]), len(listing.names))
    elif split in _fetchable(known):
      from fass_jax.data.sets import published_lists  # late: a user with lists needs no tfds

      try:
        listing = published_lists.read(split, root / 'downloads')
      except published_lists.DownloadError as error:
        raise UserError(f'{error}\n{needs(kind, config.data, root)}') from error
    else:
      raise UserError(needs(kind, config.data, root))
    parts[split] = Part(listing.names, np.asarray(listing.labels, np.int64).astype(np.int32))
  seen: dict[str, str] = {}
  for split, part in parts.items():
    for name in part.names:
      if seen.setdefault(name, split) != split:
        raise UserError(
          f"The image '{name}' is in the lists {seen[name]} and {split}; remove it from one list."
        )
  return parts


def _class_names(parts: Mapping[str, Part]) -> tuple[str, ...]:
  num_classes = 1 + max(int(part.labels.max()) for part in parts.values())
  if num_classes > 10**6:
    raise UserError(
      f'The lists have the label {num_classes - 1}; labels must be class numbers below 1,000,000.'
    )
  return lists.folder_names(parts['train'].names, parts['train'].labels, num_classes)


def _from_folder(
  kind: str,
  config: ConfigDict,
  source: Source,
  parts: dict[str, Part],
  held: str,
  root: pathlib.Path,
) -> Dataset:
  """Returns the images in an unpacked folder, without broken ones."""
  paths = originals.locate(source, parts)
  memory = checks.memory_of(source.path, root)
  every = [path for split in paths.values() for path in split]
  broken = checks.check_files(every, memory, config.data.workers)
  checks.leave_out(broken, len(every), config.data.max_broken, memory / checks.BROKEN)
  keep = {
    s: np.flatnonzero([path not in broken for path in p]).astype(np.int32) for s, p in paths.items()
  }
  pictures = {s: Paths(tuple(paths[s][i] for i in k)) for s, k in keep.items()}
  labels = {s: parts[s].labels[k] for s, k in keep.items()}
  return Dataset(
    name=kind,
    train_images=pictures['train'],
    train_labels=labels['train'],
    train_index=keep['train'],
    test_images=pictures[held],
    test_labels=labels[held],
    class_names=_class_names(parts),
    side=config.data.image_size or SIDE,
  )


def _from_records(
  kind: str, config: ConfigDict, prepared: Any, name: str, held: str, root: pathlib.Path
) -> Dataset:
  total = sum(len(p) for p, _ in prepared.splits.values()) + len(prepared.broken)
  where = root / 'image_records' / name / checks.BROKEN
  checks.leave_out(prepared.broken, total, config.data.max_broken, where)
  images, rows = prepared.splits['train']
  test_images, test_rows = prepared.splits[held]
  return Dataset(
    name=kind,
    train_images=images,
    train_labels=rows.labels,
    train_index=rows.lines,
    test_images=test_images,
    test_labels=test_rows.labels,
    class_names=prepared.class_names,
    side=config.data.image_size or SIDE,
  )


_IMAGES = {
  'imagenet_lt': (
    'ILSVRC 2012, available with an account on the ImageNet site',
    f'either {originals.TRAIN_TAR} and {originals.VAL_TAR}, or, unpacked, the folders\n'
    '  train/<wnid>/*.JPEG and val/ (with or without class folders)',
  ),
  'places_lt': (
    'Places365-Standard from the Places site',
    'the folders train/<class>/*.jpg and val/<class>/*.jpg',
  ),
  'inat18': (
    'the iNaturalist 2018 competition from its site',
    'the folder train_val2018/<group>/<class>/*.jpg',
  ),
}


def needs(kind: str, data: ConfigDict, root: pathlib.Path) -> str:
  """Returns the message for missing data: the required files, their location and the flags."""
  known = KNOWN[kind]
  whose, what = _IMAGES[kind]
  files = ', '.join(p.file for p in known.lists.values())
  if not data.dir:
    state = 'not given'
  else:
    folder = pathlib.Path(data.dir).expanduser()
    state = f'{data.dir} contains neither' if folder.is_dir() else f'{data.dir} is not a folder'
    if originals.find_source(kind, data.dir):
      state = f'{data.dir}, images found'
  fetched = '; missing lists are downloaded' if _fetchable(known) else ''
  return (
    f'{known.title} was not found: it is neither prepared in the cache {root}, nor are its images '
    'and lists available.\n'
    f'It needs the images of {whose}:\n'
    f'  {what}\n'
    f'  --config.data.dir=DIR    the folder of the images ({state})\n'
    f'and the lists {files}:\n'
    f'  --config.data.lists=DIR  the folder of the lists, plain or .gz '
    f'({data.lists or "not given"}); default: data.dir{fetched}'
  )
