"""Reads the original CIFAR-10 and CIFAR-100 files: python or binary version, folder or archive."""

from __future__ import annotations

import gzip
import io
import pathlib
import pickle
import tarfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from fass_jax.types import UserError

PIXELS = 3 * 32 * 32


class Layout(NamedTuple):
  """The files of one public version of a set."""

  folder: str
  archive: str
  train: tuple[str, ...]
  test: tuple[str, ...]
  names: str
  binary: bool


_TEN = tuple(f'data_batch_{i}' for i in range(1, 6))
LAYOUTS = {
  10: (
    Layout(
      'cifar-10-batches-py', 'cifar-10-python.tar.gz', _TEN, ('test_batch',), 'batches.meta', False
    ),
    Layout(
      'cifar-10-batches-bin',
      'cifar-10-binary.tar.gz',
      tuple(f'{n}.bin' for n in _TEN),
      ('test_batch.bin',),
      'batches.meta.txt',
      True,
    ),
  ),
  100: (
    Layout('cifar-100-python', 'cifar-100-python.tar.gz', ('train',), ('test',), 'meta', False),
    Layout(
      'cifar-100-binary',
      'cifar-100-binary.tar.gz',
      ('train.bin',),
      ('test.bin',),
      'fine_label_names.txt',
      True,
    ),
  ),
}


class Original(NamedTuple):
  """A complete CIFAR set in its original file order."""

  train_images: np.ndarray  # uint8 [N, 32, 32, 3]
  train_labels: np.ndarray  # int32 [N], 0 .. C-1, fine labels
  test_images: np.ndarray  # uint8 [M, 32, 32, 3]
  test_labels: np.ndarray  # int32 [M]
  class_names: tuple[str, ...]  # C names


def find_original(base: int, folder: str | pathlib.Path) -> pathlib.Path | None:
  """Returns the unpacked folder or the archive of CIFAR-`base` in `folder`, None if there is none.

  `folder` may also be the unpacked folder itself.
  """
  root = pathlib.Path(folder).expanduser()
  for layout in LAYOUTS[base]:
    if (root / layout.folder).is_dir():
      return root / layout.folder
  for layout in LAYOUTS[base]:
    if (root / layout.train[0]).is_file() and (root / layout.test[0]).is_file():
      return root
  for layout in LAYOUTS[base]:
    if (root / layout.archive).is_file():
      return root / layout.archive
  return None


def read_original(base: int, path: str | pathlib.Path) -> Original:
  """Returns the complete set from an unpacked folder or a .tar.gz archive.

  Sizes, shapes and labels are checked. Checksums are not, because valid copies may differ in bytes.

  Args:
    base: 10 or 100.
    path: a result of `find_original`.

  Returns:
    Original, with images in file order (for CIFAR-10, batches 1 .. 5).

  Raises:
    UserError: if a file is missing, truncated, unreadable or not a CIFAR file.

  Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report,
  University of Toronto 2009.
  """
  path = pathlib.Path(path)
  layout, files = _read_folder(base, path) if path.is_dir() else _read_archive(base, path)
  read = _read_binary if layout.binary else _read_python
  splits: list[tuple[np.ndarray, np.ndarray]] = []
  for split in (layout.train, layout.test):
    parts = [read(base, f'{path}/{name}', files[name]) for name in split]
    images, labels = (np.concatenate(x) for x in zip(*parts, strict=True))
    _check_labels(base, f'{path}/{split[0]}', labels, several=len(split) > 1)
    splits.append((images, labels))
  names = _read_names(base, layout, f'{path}/{layout.names}', files[layout.names])
  return Original(*splits[0], *splits[1], names)


def _bad(where: Any, what: str) -> UserError:
  return UserError(f'The file {where} {what}; fetch or unpack the original archive again.')


def _members(layout: Layout) -> tuple[str, ...]:
  return (*layout.train, *layout.test, layout.names)


def _read_folder(base: int, path: pathlib.Path) -> tuple[Layout, dict[str, bytes]]:
  for layout in LAYOUTS[base]:
    if path.name == layout.folder or (path / layout.train[0]).is_file():
      break
  files = {}
  for name in _members(layout):
    try:
      files[name] = (path / name).read_bytes()
    except OSError as e:
      raise _bad(path / name, f'cannot be read ({e.strerror or e})') from e
  return layout, files


def _read_archive(base: int, path: pathlib.Path) -> tuple[Layout, dict[str, bytes]]:
  try:
    # decompress the whole stream first, so that gzip's own checksum is always verified
    with gzip.open(path) as f:
      raw = f.read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
      opened = {m.name.rsplit('/', 1)[-1]: tar.extractfile(m) for m in tar if m.isfile()}
      files = {name: f.read() for name, f in opened.items() if f is not None}
  except (OSError, EOFError, zlib.error, tarfile.TarError) as e:
    raise _bad(path, f'is not a complete .tar.gz archive ({e})') from e
  for layout in LAYOUTS[base]:
    missing = [name for name in _members(layout) if name not in files]
    if not missing:
      return layout, files
  raise _bad(path, f'does not contain the files of CIFAR-{base} ({missing[0]} is missing)')


def _read_binary(base: int, where: str, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
  head = 1 if base == 10 else 2  # CIFAR-100: coarse label, fine label
  if not raw or len(raw) % (head + PIXELS):
    raise _bad(where, f'is truncated: it has {len(raw)} bytes, not a multiple of {head + PIXELS}')
  rows = np.frombuffer(raw, np.uint8).reshape(-1, head + PIXELS)
  return _to_images(rows[:, head:]), rows[:, head - 1].astype(np.int32)


def _read_python(base: int, where: str, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
  record = load_pickle(where, raw)
  key = b'labels' if base == 10 else b'fine_labels'
  data, labels = record.get(b'data'), record.get(key)
  if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (PIXELS,):
    raise _bad(where, f'has no uint8 array of {PIXELS} columns under "data"')
  try:
    labels = np.asarray(labels, np.int32)
  except (TypeError, ValueError, OverflowError) as e:
    raise _bad(where, f'has no list of whole numbers under "{key.decode()}"') from e
  if labels.shape != (len(data),) or not len(data):
    raise _bad(where, f'has {len(data)} images but {labels.size} labels')
  return _to_images(data), labels


def _to_images(rows: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _check_labels(base: int, where: str, labels: np.ndarray, several: bool) -> None:
  where = f'{where} (or a batch beside it)' if several else where
  if labels.min() < 0 or labels.max() >= base:
    wrong = labels.max() if labels.max() >= base else labels.min()
    raise _bad(where, f'has the label {wrong}, outside 0 .. {base - 1}')
  count = np.bincount(labels, minlength=base)
  # both sets are balanced, so this also detects a file truncated between two images
  if count.min() != count.max():
    raise _bad(
      where,
      f'has {count.min()} to {count.max()} images per class, but the original has equal numbers, '
      'so images are missing or changed',
    )


def _read_names(base: int, layout: Layout, where: str, raw: bytes) -> tuple[str, ...]:
  if layout.binary:
    lines: Any = raw.split()
  else:
    lines = load_pickle(where, raw).get(b'label_names' if base == 10 else b'fine_label_names')
  if not isinstance(lines, list) or len(lines) != base:
    raise _bad(where, f'does not contain {base} class names')
  try:
    return tuple(x if isinstance(x, str) else x.decode('ascii') for x in lines)
  except (AttributeError, UnicodeDecodeError) as e:
    raise _bad(where, 'contains a class name that is not plain text') from e


class _ArrayUnpickler(pickle.Unpickler):
  """Builds only dicts, lists, numbers, bytes and uint8 arrays.

  A pickle can call any function by name, so a manipulated file could run code. This class allows
  only the three names that Python 2's numpy wrote and maps them to the functions below.
  """

  def find_class(self, module: str, name: str) -> Any:
    module = module.replace('numpy._core', 'numpy.core')
    if (module, name) == ('numpy.core.multiarray', '_reconstruct'):
      return _empty_array
    if (module, name) == ('numpy', 'dtype'):
      return _uint8
    if (module, name) == ('numpy', 'ndarray'):
      return 'ndarray'  # only an argument of _reconstruct, so it need not be callable
    raise pickle.UnpicklingError(f'{module}.{name} is not allowed here')


def _empty_array(*_: Any) -> np.ndarray:
  return np.empty(0, np.uint8)  # the pickle then sets its state (shape, type, bytes)


def _uint8(code: bytes | str, *_: Any) -> np.dtype:
  if code not in (b'u1', 'u1'):
    raise pickle.UnpicklingError(f'the array type {code!r} is not uint8')
  # numpy's dtype() would warn about the integer `align` in these pickles
  return np.dtype(np.uint8, copy=True)


def load_pickle(where: str, raw: bytes) -> dict[bytes, Any]:
  """Returns the dict of a CIFAR pickle with keys as bytes, without running code from the file.

  Args:
    where: the file's name, for the message.
    raw: the file's bytes.

  Raises:
    UserError: if the bytes are not a complete pickle of a dict, or contain other types than those
      of a CIFAR file.
  """
  try:
    record = _ArrayUnpickler(io.BytesIO(raw), encoding='bytes').load()
    return {k.encode() if isinstance(k, str) else k: v for k, v in record.items()}
  except Exception as e:  # a damaged pickle can raise nearly any exception
    raise _bad(where, f'is not a readable CIFAR pickle ({e})') from e
