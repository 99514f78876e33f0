"""The tfds side of sets of encoded images: a builder without TensorFlow, and the way back.

Imported only when a set is prepared or read from the cache.
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
SHARD = 4096  # images in a file


class Plan(NamedTuple):
  """What a set is prepared from."""

  parts: Parts
  class_names: tuple[str, ...]
  items: Callable[[], Iterator[Item]]
  shrink: int  # to this short side; 0: as they are
  workers: int
  max_broken: float


class Prepared(NamedTuple):
  """A prepared set."""

  splits: dict[str, tuple[Records, Rows]]
  class_names: tuple[str, ...]
  broken: dict[str, str]  # name: what is wrong; left out


@dataclasses.dataclass(eq=False)
class ImageRecordsConfig(tfds.core.BuilderConfig):
  """One set of lists, and, to prepare it, where its images come from."""

  plan: Plan | None = None


class _Split:
  """The files of a split while they are written, in shards of `SHARD` images."""

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
  """Listed images as a tfds data set, in the order in which their source has them.

  Features: image (bytes as they were, or shrunk), label, file_name (as in the list), line (of the
  list). Splits: those of the lists. tfds' own writer sorts a split in memory and, above a
  gigabyte, needs TensorFlow; this one writes all splits at once, in one pass over the source.
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
    del dl_manager, download_config  # the images are there
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
    """Writes all records; returns `{name: what is wrong}` of the images that are none."""

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

  # tfds' way into TensorFlow, which a builder has to have; ours is read by `as_data_source`
  def _as_dataset(self, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError('as_data_source reads these files')


def prepared_dir(config_name: str, root: pathlib.Path) -> pathlib.Path:
  """Returns the versioned folder of a set below the cache `root`, whether it exists or not."""
  return root / 'image_records' / config_name / VERSION


def is_prepared(config_name: str, root: pathlib.Path) -> bool:
  """Returns whether a set is complete; tfds gives a folder its name only then."""
  return (prepared_dir(config_name, root) / 'dataset_info.json').is_file()


def prepare(config_name: str, root: pathlib.Path, plan: Plan) -> None:
  """Writes a set as ArrayRecord files below the cache `root`; an interrupted call leaves none.

  Raises:
    UserError: missing or too many broken images, a damaged source, or no room.
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
    # Two runs may prepare the same set at once; the first to finish wins and both can go on.
    if not is_prepared(config_name, root):
      raise UserError(
        f'The set could not be prepared in the cache {root} ({error}); make room there or name '
        'another folder with --config.data.cache=DIR.'
      ) from error


def _clear_up(folder: pathlib.Path) -> None:
  """Removes what killed attempts left: up to 20 GB each; those of the last hour may be alive."""
  for left in folder.glob('incomplete.*'):
    try:
      newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
      if time.time() - newest > 3600:
        log.info('Removing %s, left by an attempt that was killed', left)
        shutil.rmtree(left)
    except OSError:  # another process was quicker
      continue


def read(config_name: str, root: pathlib.Path) -> Prepared:
  """Returns a prepared set; images are read when they are asked for.

  Raises:
    UserError: the files are damaged.
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
  except Exception as error:  # the readers of other packages fail in many ways on damaged files
    raise UserError(
      f'The prepared set {folder} is damaged ({error}); delete that folder, the next run makes it '
      'again.'
    ) from error
  return Prepared(splits, names, broken)


def _builder(config_name: str, root: pathlib.Path, plan: Plan | None) -> ImageRecords:
  config = ImageRecordsConfig(name=config_name, plan=plan)
  return ImageRecords(config=config, data_dir=root, file_format='array_record')
