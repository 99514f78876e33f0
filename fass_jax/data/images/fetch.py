"""Downloads files through tfds, verifies and stores them, and silences tfds."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging as std_logging
import os
import pathlib
import tempfile
from collections.abc import Iterator

import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.download import download_manager as downloads
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.utils import tqdm_utils

from fass_jax.types import UserError

logger = std_logging.getLogger(__name__)


class DownloadError(Exception):
  """A file could not be fetched; the text is the reason."""


def fetch(url: str, want: str, store: pathlib.Path, name: str, mend: str) -> pathlib.Path:
  """Returns the path of a file in the folder `store`; downloads it if it is missing.

  Args:
    url: address of the file.
    want: sha256 of the file.
    store: folder for downloads.
    name: name of the file; in `store`, the first digits of the checksum precede it.
    mend: the remedy for a wrong checksum, for the message after "try again, or".

  Raises:
    DownloadError: if the download fails (no network, wrong address, full disk).
    UserError: if the file has another checksum.
  """
  path = store / f'{want[:16]}-{name}'
  if path.is_file() and sha256_of(path) == want:
    return path
  store.mkdir(parents=True, exist_ok=True)
  # tfds does not delete a failed download; the temporary folder removes it
  with tempfile.TemporaryDirectory(dir=store) as tmp, _few_retries():
    logger.info('Downloading %s into %s', url, store)
    try:
      fresh = pathlib.Path(tfds.download.DownloadManager(download_dir=tmp).download(url))
      got = sha256_of(fresh)
    except downloads.NonMatchingChecksumError as e:
      raise _wrong_sum(url, 'a checksum or size other than the registered one', mend) from e
    except Exception as e:  # no network, wrong address, full disk: the text has the reason
      reason = f'{type(e).__name__}: {str(e).strip().splitlines()[0][:300] if str(e) else ""}'
      raise DownloadError(f'the download of {url} failed ({reason})') from e
    if got != want:
      raise _wrong_sum(url, f'sha256 {got} instead of {want}', mend)
    os.replace(fresh, path)
  return path


def sha256_of(path: pathlib.Path) -> str:
  """Returns the sha256 of a file as hexadecimal digits."""
  with path.open('rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Silences tfds' progress bars, log lines and prints ('Downloading and preparing')."""
  bars, level = getattr(tqdm_utils, '_active', True), logging.get_verbosity()
  tfds.disable_progress_bar()
  logging.set_verbosity(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.display_progress_bar(bars)
    logging.set_verbosity(level)


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
  """Limits tfds to 2 retries; its default of 10 with growing pauses takes minutes offline."""
  before = getattr(downloader, 'MAX_RETRIES', None)
  downloader.MAX_RETRIES = 2
  try:
    yield
  finally:
    downloader.MAX_RETRIES = before


def _wrong_sum(url: str, what: str, mend: str) -> UserError:
  return UserError(f'The file downloaded from {url} has {what}; try again, or {mend}.')
