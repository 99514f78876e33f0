"""Sets of encoded images as tfds data sets: a builder without TensorFlow, and a reader.

This module is imported only to prepare a set or to read it from the cache.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import dataset_builder, example_serializer

from fass_jax.data.images import checks, decode
from fass_jax.data.images.encoded import Records
from fass_jax.data.images.fetch import quiet
from fass_jax.data.images.originals import Item, Parts
from fass_jax.data.images.rows import Rows, load_rows, read_rows, rows_of, save_rows
from fass_jax.types import UserError

log = logging.getLogger('fass_jax')

VERSION = '1.0.0'
ROWS = 'rows.npz'
SHARD = 4096  # images per file


class Plan(NamedTuple):
  """The inputs for preparing a set."""

  parts: Parts
  class_names: tuple[str, ...]
  items: Callable[[], Iterator[Item]]
  shrink: int  # pixels of the short side; 0: no resizing
  workers: int
  max_broken: float


class Prepared(NamedTuple):
  """A prepared set."""

  splits: dict[str, tuple[Records, Rows]]
  class_names: tuple[str, ...]
  broken: dict[str, str]  # name -> reason; these images were skipped


@dataclasses.dataclass(eq=False)
class ImageRecordsConfig(tfds.core.BuilderConfig):
  """One set of lists, with a plan if it has to be prepared."""

  plan: Plan | None = None


class _Split:
  """Writes the files of a split in shards of `SHARD` images."""

  def __init__(self, template: tfds.core.ShardedFileTemplate, split: str):
    self.template = template.replace(split=split)
    self.writer: Any = None
    self.lengths: list[int] = []
    self.size = 0
    self.lines: list[int] = []

  def write(self, example: bytes, line: int) -> None:
    if self.writer is None:
      path = self.template.sharded_filepath(shard_index=len(self.lengths), num_shards=None)
      self.writer = ArrayRecordWriter(str(path), 'group_size:1')
      self.lengths.append(0)
    self.writer.write(example)
    self.lengths[-1] += 1
    self.size += len(example)
    self.lines.append(line)
    if self.lengths[-1] == SHARD:
      self.close()

  def close(self) -> None:
    if self.writer is not None:
      self.writer.close()
      self.writer = None

  def info(self, name: str) -> tfds.core.SplitInfo:
    return tfds.core.SplitInfo(
      name=name, shard_lengths=self.lengths, num_bytes=self.size, filename_template=self.template
    )


class ImageRecords(dataset_builder.FileReaderBuilder):
  """Listed images as a tfds data set, in the order of their source.

  Features: image (original or resized bytes), label, file_name (as in the list), line (in the
  list). The splits are those of the lists. tfds' own writer sorts a split in memory and, above a
  gigabyte, needs TensorFlow; this builder writes all splits in one pass over the source.
  """

  VERSION = tfds.core.Version(VERSION)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Listed images.',
      supervised_keys=('image', 'label'),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(broken={}),
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(),
          'label': tfds.features.ClassLabel(),
          'file_name': tfds.features.Text(),
          'line': np.int32,
        }
      ),
    )

  def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
    del dl_manager, download_config  # the images are local
    plan: Plan = self.builder_config.plan
    self.info.features['label'].names = list(plan.class_names)
    template = tfds.core.ShardedFileTemplate(
      dataset_name=self.name,
      data_dir=self.data_path,
      filetype_suffix='array_record',
      template='{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}',
    )
    splits = {name: _Split(template, name) for name in plan.parts}
    try:
      self.info.metadata['broken'] = broken = self._write(plan, splits)
    finally:
      for split in splits.values():
        split.close()
    total = sum(len(part.names) for part in plan.parts.values())
    where = self.data_path.parent / checks.BROKEN
    checks.write_broken(pathlib.Path(where), broken)
    checks.leave_out(broken, total, plan.max_broken, pathlib.Path(where))
    for name, split in splits.items():
      if not split.lines:
        raise UserError(f"All images of the split '{name}' are broken; fetch them again.")
    self.info.set_splits(tfds.core.SplitDict([x.info(name) for name, x in splits.items()]))
    rows = {
      name: rows_of(
        plan.parts[name].names, plan.parts[name].labels, np.asarray(split.lines, np.int32)
      )
      for name, split in splits.items()
    }
    save_rows(pathlib.Path(self.data_path) / ROWS, rows)

  def _write(self, plan: Plan, splits: dict[str, _Split]) -> dict[str, str]:
    """Writes all records and returns `{name: reason}` for the broken images."""

    def work(item: Item) -> tuple[Item, str]:
      try:
        if plan.shrink:
          return item._replace(encoded=decode.shrink(item.encoded, plan.shrink)), ''
        decode.rgb(item.encoded)
      except decode.Broken as error:
        return item, str(error)
      return item, ''

    features = self.info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    broken = {}
    done = checks.in_threads(work, plan.items(), plan.workers)
    total = sum(len(part.names) for part in plan.parts.values())
    for item, reason in checks.progress(done, total, 'preparing'):
      part = plan.parts[item.split]
      name = part.names[item.line]
      if reason:
        broken[name] = reason
        continue
      example = {
        'image': item.encoded,
        'label': int(part.labels[item.line]),
        'file_name': name,
        'line': item.line,
      }
      encoded = serializer.serialize_example(features.encode_example(example))
      splits[item.split].write(encoded, item.line)
    return broken

  # tfds requires this method for TensorFlow; this data set is read by `as_data_source`
  def _as_dataset(self, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError('as_data_source reads these files')


def prepared_dir(config_name: str, root: pathlib.Path) -> pathlib.Path:
  """Returns the versioned folder of a set below the cache `root`, whether it exists or not."""
  return root / 'image_records' / config_name / VERSION


def is_prepared(config_name: str, root: pathlib.Path) -> bool:
  """Returns True if a set is complete; tfds renames the folder only then."""
  return (prepared_dir(config_name, root) / 'dataset_info.json').is_file()


def prepare(config_name: str, root: pathlib.Path, plan: Plan) -> None:
  """Writes a set as ArrayRecord files below the cache `root`.

  An interrupted call leaves no prepared set.

  Raises:
    UserError: if images are missing, too many are broken, the source is damaged, or the disk is
      full.
  """
  log.info('Preparing %s in %s', config_name, root)
  _clear_up(prepared_dir(config_name, root).parent)
  try:
    with quiet():
      _builder(config_name, root, plan).download_and_prepare(
        download_dir=root / 'downloads',
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
      )
  except OSError as error:
    # if two runs prepare the same set at once, the first to finish wins, and both can continue
    if not is_prepared(config_name, root):
      raise UserError(
        f'The set could not be prepared in the cache {root} ({error}); free disk space there or '
        'give another folder with --config.data.cache=DIR.'
      ) from error


def _clear_up(folder: pathlib.Path) -> None:
  """Removes incomplete sets of killed processes (up to 20 GB each) that are over an hour old."""
  for left in folder.glob('incomplete.*'):
    try:
      newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
      if time.time() - newest > 3600:
        log.info('Removing the incomplete set %s of a killed process', left)
        shutil.rmtree(left)
    except OSError:  # another process has removed it
      continue


def read(config_name: str, root: pathlib.Path) -> Prepared:
  """Returns a prepared set with images that are read on demand.

  Raises:
    UserError: if the files are damaged.
  """
  folder = prepared_dir(config_name, root)
  try:
    with quiet():
      builder = _builder(config_name, root, None)
      sources = {
        name: builder.as_data_source(name, decoders={'image': tfds.decode.SkipDecoding()})
        for name in builder.info.splits
      }
      rows = load_rows(folder / ROWS)
      if rows is None or any(len(rows[n].row) != len(s) for n, s in sources.items()):
        rows = {name: read_rows(source) for name, source in sources.items()}
        save_rows(folder / ROWS, rows)
      splits = {n: (Records(s, rows[n].row, rows[n].names), rows[n]) for n, s in sources.items()}
      for pictures, _ in splits.values():
        pictures[len(pictures) - 1]
      names = tuple(builder.info.features['label'].names)
      broken = dict(builder.info.metadata['broken'])
  except Exception as error:  # other packages raise many exception types for damaged files
    raise UserError(
      f'The prepared set {folder} is damaged ({error}); delete that folder, and the next run '
      'prepares it again.'
    ) from error
  return Prepared(splits, names, broken)


def _builder(config_name: str, root: pathlib.Path, plan: Plan | None) -> ImageRecords:
  config = ImageRecordsConfig(name=config_name, plan=plan)
  return ImageRecords(config=config, data_dir=root, file_format='array_record')
