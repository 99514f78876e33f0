"""The published lists of ImageNet-LT, with addresses, checksums and test labels from tfds."""

from __future__ import annotations

import pathlib

import tensorflow_datasets as tfds
from tensorflow_datasets.datasets.imagenet_lt import imagenet_lt_dataset_builder as recorded

from fass_jax.data.images.fetch import DownloadError, fetch, quiet
from fass_jax.data.images.lists import KNOWN, Listing, read_list

__all__ = ['DownloadError', 'read']


def read(split: str, store: pathlib.Path) -> Listing:
  """Returns a list of ImageNet-LT: train and val from a download, test from the labels in tfds.

  The test images are the 50,000 validation images of ILSVRC 2012; the published list has them in
  another order.

  Raises:
    DownloadError: if the download fails.
    UserError: if a file has another checksum.

  Reference: Liu et al., Large-Scale Long-Tailed Recognition in an Open World, arXiv:1904.05160.
  """
  if split == 'test':
    folder = pathlib.Path(tfds.core.tfds_path('datasets/imagenet2012'))
    wnids = (folder / 'labels.txt').read_text().split()
    truth = (folder / 'validation_labels.txt').read_text().split()
    number = {wnid: str(i) for i, wnid in enumerate(wnids)}
    names = tuple(f'val/{w}/ILSVRC2012_val_{i:08d}.JPEG' for i, w in enumerate(truth, 1))
    return Listing(names, tuple(number[w] for w in truth), ('',) * len(names))
  published = KNOWN['imagenet_lt'].lists[split]
  (url,) = [u for u, info in recorded.Builder.url_infos.items() if info.filename == published.file]
  mend = 'put the list into a folder and give it with --config.data.lists=DIR'
  with quiet():
    return read_list(fetch(url, published.sha256, store, published.file, mend))
