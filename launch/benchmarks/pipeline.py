"""Measures how fast image files become batches on the host, compared with a PyTorch DataLoader.

    python launch/benchmarks/pipeline.py                256 JPEGs of 500 x 375, made of two photos
    python launch/benchmarks/pipeline.py --images=DIR   the JPEGs below a folder

Both read JPEG files and decode a random resized crop of 224 pixels. fass_jax produces uint8
batches, because it does flips, jitter and normalisation on the device; the DataLoader's workers
flip and normalise as in torchvision's pipelines, or also produce uint8 batches. The candidates
alternate, with a whole epoch each.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from fass_jax.data.images import ahead, decode, streaming
from fass_jax.data.images.encoded import Paths
from fass_jax.data.images.streaming import Pending, Reader
from fass_jax.engine import feed
from launch.benchmarks import (
  contestants,
  report,
)
from launch.benchmarks.contestants import Entry

SIDE, BATCH = 224, 64
CUT = feed.Cut((0.08, 1.0), 0.875)
LOADER = 'torch DataLoader'
BARE = 'torch DataLoader, to uint8 only'


def cores() -> int:
  """Returns the number of cores that this process may use."""
  return len(os.sched_getaffinity(0))


def counted(n: int, what: str) -> str:
  """Returns a number with its noun, e.g. '1 thread' or '2 threads'."""
  return f'{n} {what}' + 's' * (n > 1)


def make_photos(folder: pathlib.Path, count: int = 256) -> None:
  """Writes JPEGs of ImageNet's usual size, 500 x 375, quality 90: crops of two real photos."""
  rng, photos = (
    np.random.default_rng(0),
    [load_sample_image(f'{n}.jpg') for n in ('china', 'flower')],
  )
  for i in range(count):
    photo = photos[i % 2]
    y, x = (int(rng.integers(n - m + 1)) for n, m in zip(photo.shape, (375, 500)))
    Image.fromarray(photo[y : y + 375, x : x + 500]).save(folder / f'{i:04d}.jpg', quality=90)


def find(folder: pathlib.Path) -> list[str]:
  """Returns the JPEG files below a folder, in a fixed random order.

  Raises:
    SystemExit: if there are none.
  """
  found = sorted(str(p) for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg'))
  if not found:
    raise SystemExit(f'There are no .jpg or .jpeg files below {folder}; give another --images.')
  return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


def describe(paths: Sequence[str], source: str) -> dict[str, Any]:
  """Describes the sample: number of images, median size, mean kB, versions of the decoders."""
  sizes = []
  for path in paths:
    with Image.open(path) as image:
      sizes.append(image.size)
  width, height = np.median(sizes, 0)
  versions = {}
  for name in ('pillow', 'simplejpeg', 'opencv-python-headless'):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[name] = importlib.metadata.version(name)
  size = sum(os.path.getsize(p) for p in paths) / len(paths) / 1e3
  return {
    'source': source, 'images': len(paths), 'width': float(width), 'height': float(height),
    'kb': size, 'cores': cores(), 'batch': BATCH, 'versions': versions,
  }  # fmt: skip


def read(reader: Reader, total: int, batch: int, n: int) -> None:
  """Loads n epochs of `total` images as in training."""

  def job(step: int) -> dict[str, Pending]:
    index = np.arange(step * batch, (step + 1) * batch) % len(reader.pictures)
    box = feed.boxes(CUT, 0, step, 'natural/own', True)
    return {'': streaming.begin(reader, index, box, np.arange(batch), batch)}

  for _ in range(n):
    for loads in ahead.ahead(functools.partial(job, step) for step in range(total // batch)):
      streaming.finish(loads[''])


def decoders() -> list[str]:
  """Returns the available decoders, and prints how to install a missing one."""
  try:
    decode.DECODERS['fast']()
  except decode.UserError as error:
    print(error)
    return ['pillow']
  return list(decode.DECODERS)


def line_up(
  paths: Sequence[str], share: int, batch: int, side: int, pools: Sequence[ThreadPoolExecutor]
) -> tuple[dict[str, Entry], list[Callable[[], None]]]:
  """Returns the candidates, and functions to call at the end.

  Each candidate loads `share` images per thread or worker, because a single thread would need
  minutes for the images that 16 threads load in seconds.
  """
  entries, close, most = {}, [], pools[-1]._max_workers
  for name in decoders():
    for pool in pools:
      reader = streaming.open_reader(Paths(paths), side, name, pool)
      label = f'fass_jax {name}, {counted(pool._max_workers, "thread")}'
      total = share * pool._max_workers
      entries[label] = Entry(functools.partial(read, reader, total, batch), total)
  if contestants.has_torch():
    from launch.benchmarks import torch_pictures

    for workers, whole in dict.fromkeys([(1, True), (most, True), (most, False)]):
      total = share * workers
      crops = torch_pictures.Crops(paths, total, side, whole)
      loader = torch_pictures.Loader(crops, batch, workers)
      label = f'{LOADER if whole else BARE}, {counted(workers, "worker")}'
      entries[label] = Entry(loader.run, total)
      close.append(loader.close)
  return entries, close


def measure(
  paths: Sequence[str], rounds: int, batches: int, batch: int = BATCH, side: int = SIDE
) -> dict[str, Any]:
  """Measures images/s of all candidates, and the ratios of fass_jax to the DataLoader per round.

  Args:
    paths: JPEG files.
    rounds: number of rounds.
    batches: batches per epoch and thread.
    batch: images per batch.
    side: pixels per side of the crops.
  """
  pools = [streaming.threads(n) for n in sorted({1, cores()})]
  entries, close = line_up(paths, batches * batch, batch, side, pools)
  for entry in entries.values():
    entry.run(1)  # starts the workers and reads the files into the page cache
  speed = contestants.measure(entries, rounds, 1)
  for call in (*close, *(p.shutdown for p in pools)):
    call()
  ratios = {}
  for name in (n for n in entries if n.startswith('fass_jax')):
    # compare equal numbers of threads and workers
    number = name.split(', ')[1].replace('thread', 'worker')
    for rival, said in ((LOADER, 'DataLoader'), (BARE, 'DataLoader to uint8')):
      if f'{rival}, {number}' in entries:
        ratios[f'{name} / {said}'] = contestants.ratio(speed[name], speed[f'{rival}, {number}'])
  return {
    'images_per_s': {k: contestants.spread(v) for k, v in speed.items()},
    'ratios': ratios,
    'rounds': rounds,
    'images_a_round': max(entry.images for entry in entries.values()),
  }


def pipeline(images: str = '', quick: bool = False) -> dict[str, Any]:
  """Returns the measurements by sample: the generated photos, and a folder of JPEGs if given.

  Args:
    images: a folder, '' for none.
    quick: True: two short rounds.
  """
  found = {}
  with tempfile.TemporaryDirectory() as made:
    make_photos(pathlib.Path(made))
    folders = {'made of two photos': made} | (
      {'the folder that was named': images} if images else {}
    )
    for source, folder in folders.items():
      paths = find(pathlib.Path(folder))
      figures = measure(paths, *((2, 3) if quick else (5, 6)))
      found[source] = {'sample': describe(paths, source)} | figures
  return found


def main() -> None:
  """Runs the measurements and prints the tables."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--images', default='', metavar='DIR', help='a folder of JPEG files')
  parser.add_argument('--quick', action='store_true', help='two short rounds')
  args = parser.parse_args()
  print('\n\n'.join(report.pipeline_tables(pipeline(args.images, args.quick))))


if __name__ == '__main__':
  main()
