"""Downloads through tfds, checked and kept; tfds itself kept quiet."""

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
  """Returns the file `name` in the folder `store`, downloaded unless it is there already.

  Args:
    url: its address.
    want: its sha256.
    store: folder that keeps downloads.
    name: what the file is called there, behind the first digits of the sum.
    mend: what a user can do about a file with another sum, behind "try again, or".

  Raises:
    DownloadError: no network, no such address, no room.
    UserError: the file has another sum.
  """
  path = store / f'{want[:16]}-{name}'
  if path.is_file() and sha256_of(path) == want:
    return path
  store.mkdir(parents=True, exist_ok=True)
  # tfds leaves a failed download where it was; in a folder of its own it goes away with it.
  with tempfile.TemporaryDirectory(dir=store) as tmp, _few_retries():
    logger.info('Downloading %s into %s', url, store)
    try:
      fresh = pathlib.Path(tfds.download.DownloadManager(download_dir=tmp).download(url))
      got = sha256_of(fresh)
    except downloads.NonMatchingChecksumError as e:
      raise _wrong_sum(url, 'a check sum or size other than the registered one', mend) from e
    except Exception as e:  # no network, no such address, no room: the reason is in the text
      reason = f'{type(e).__name__}: {str(e).strip().splitlines()[0][:300] if str(e) else ""}'
      raise DownloadError(f'the download of {url} was tried and failed ({reason})') from e
    if got != want:
      raise _wrong_sum(url, f'sha256 {got} instead of {want}', mend)
    os.replace(fresh, path)
  return path


def sha256_of(path: pathlib.Path) -> str:
  """Returns the sha256 of a file."""
  with path.open('rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Keeps tfds' bars, log lines and prints ('Downloading and preparing') off the screen."""
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
  """Let tfds give up soon: its ten tries with doubling pauses take minutes without a network."""
  before = getattr(downloader, 'MAX_RETRIES', None)
  downloader.MAX_RETRIES = 2
  try:
    yield
  finally:
    downloader.MAX_RETRIES = before


def _wrong_sum(url: str, what: str, mend: str) -> UserError:
  return UserError(f'The file downloaded from {url} has {what}; try again, or {mend}.')
