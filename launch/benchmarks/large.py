"""ResNet-50 at 224 pixels: train images/s, and the share of the device's arithmetic rate.

Images are on the device as squares of 256 pixels ('resident'), or threads decode JPEG files while
the device works ('streamed'). Both use the same photos and the config of ImageNet-LT with 1,000
classes. The share is 6 x 4.09 GFLOP per image in a forward pass (forward, plus twice that backward)
relative to the measured rate of large matrix products in the same precision; FASS has 1.6 such
images per natural image. On a CPU this is only a functional test: batch 4, few steps.
"""

from __future__ import annotations

import itertools
import math
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from fass_jax.data.images import decode, streaming
from fass_jax.data.images.encoded import Paths
from fass_jax.data.images.streaming import Pending, Reader
from fass_jax.engine import feed
from fass_jax.types import Dataset, Squares
from launch.benchmarks import contestants, pipeline, roofline
from launch.benchmarks.contestants import Entry, JaxRun, Size

CLASSES, SQUARE = 1000, 256
RHO = 0.3  # FASS' default share of mixed images per batch, in two views
LONG = 8  # steps per call on a GPU
# method, precision, batch, storage of the images; decoder or device limit a streamed run, so one
# batch size is enough for it
GPU_CASES = (
  ('ce', 'bfloat16', 256, 'resident'),
  ('ce', 'bfloat16', 256, 'streamed'),
  ('ce', 'bfloat16', 64, 'resident'),
  ('ce', 'tf32', 256, 'resident'),
  ('fass', 'bfloat16', 256, 'resident'),
  ('fass', 'bfloat16', 256, 'streamed'),
)
CPU_CASES = (
  ('ce', 'float32', 4, 'resident'),
  ('ce', 'float32', 4, 'streamed'),
  ('fass', 'float32', 4, 'resident'),
)


class StreamRun(JaxRun):
  """A run with new pixels in each step, as in `loop.train_epoch`."""

  store: Any
  reader: Reader

  def read_from(self, reader: Reader) -> StreamRun:
    """Sets the reader of the images and returns the run."""
    self.reader, self.feed = reader, self._epochs()
    return self

  def _epochs(self) -> Iterator[dict[str, Pending]]:
    on = self.key.patterns[0]
    for epoch in itertools.count():
      yield from feed.of_epoch(
        self.recipe, self.reader, pipeline.CUT, 0, self.plan, epoch, 0, lambda row: on
      )

  def compile(self) -> StreamRun:
    """Compiles the program for the shapes of a step's pixels and returns the run."""
    shapes, whole = {}, self.store
    for site, (stream, _) in feed.sites(self.recipe, self.key.patterns[0]).items():
      n = self.recipe.streams[stream.split('/')[0]].size
      shapes[site] = jax.ShapeDtypeStruct((n, self.reader.side, self.reader.side, 3), np.uint8)
    self.store = whole._replace(pixels=shapes)
    super().compile()
    self.store = whole
    return self

  def advance(self, states: list[Any], n: int) -> None:
    """Performs n steps, in place, and waits for the last one."""
    for _ in range(n):
      pixels = feed.on_devices(next(self.feed), self.recipe.where)
      store = self.store._replace(pixels=pixels)
      states[0], done = self.program(states[0], store, self.plan, None)
    done.block_until_ready()


def photos(paths: list[str], side: int) -> tuple[Dataset, Dataset, Paths]:
  """Returns a set of 1,024 photos as squares, the same set as files, and the files.

  Args:
    paths: JPEG files, repeated up to 1,024.
    side: pixels per side of the network's input.
  """
  pictures = Paths([paths[i % len(paths)] for i in range(1024)])
  labels = np.arange(1024, dtype=np.int32) % CLASSES
  with streaming.threads(0) as pool:
    reader = streaming.open_reader(Paths(paths), SQUARE, 'pillow', pool)
    few = streaming.load_all(reader, lambda i: decode.whole, lambda work: work)
  squares = Squares(few[np.arange(1024) % len(paths)], np.full(1024, 4 / 3, np.float32))
  names = tuple(str(c) for c in range(CLASSES))
  rest = labels, np.arange(1024, dtype=np.int32), few[:1, :side, :side], labels[:1], names, side
  return Dataset('photos', squares, *rest), Dataset('photos', pictures, *rest), pictures


def line_up(
  paths: list[str], pool: ThreadPoolExecutor, depth: int, side: int
) -> tuple[dict[str, JaxRun], dict[str, tuple[str, float]]]:
  """Returns the runs, not compiled yet, and the precision and passes per image of each run."""
  gpu = roofline.on_gpu()
  resident, files, pictures = photos(paths, side)
  reader = streaming.open_reader(pictures, side, pipeline.decoders()[-1], pool)
  runs: dict[str, JaxRun] = {}
  about = {}
  for method, precision, batch, kind in GPU_CASES if gpu else CPU_CASES:
    name = f'{method} {precision}, batch {batch}, {kind}'
    how: dict[str, Any] = {
      'kind': 'imagenet_lt', 'engine__precision': precision, 'data__image_size': side,
    }  # fmt: skip
    if kind == 'resident':
      how['length'] = LONG if gpu else 1
      runs[name] = JaxRun(resident, method, Size(depth, batch), **how)
    else:
      runs[name] = StreamRun(files, method, Size(depth, batch), **how).read_from(reader)
    mixed = 2 * math.ceil(RHO * batch) if method == 'fass' else 0
    about[name] = precision, (batch + mixed) / batch
  return runs, about


def large(rounds: int = 3, depth: int = 50, side: int = 224) -> dict[str, Any]:
  """Measures train images/s of all cases, and their share of the rate of matrix products.

  Args:
    rounds: number of rounds.
    depth: depth of `nets.resnet`.
    side: pixels per side of an image.
  """
  gpu, rates = roofline.on_gpu(), roofline.matmul_rates()
  entries, skipped = {}, {}
  with tempfile.TemporaryDirectory() as folder, streaming.threads(0) as pool:
    pipeline.make_photos(pathlib.Path(folder), 256 if gpu else 16)
    runs, about = line_up(pipeline.find(pathlib.Path(folder)), pool, depth, side)
    with ThreadPoolExecutor(max_workers=4) as compilers:
      list(compilers.map(lambda run: run.compile(), runs.values()))
    for name, run in runs.items():
      try:
        run(1)
        begin = time.perf_counter()
        run(1)
        # print a first estimate, in case the process is stopped before the measurement ends
        rate = run.images / (time.perf_counter() - begin)
        print(f'  {name}: about {rate:.3g} images/s', file=sys.stderr, flush=True)
        entries[name] = Entry(run, run.images)
      except jax.errors.JaxRuntimeError as error:  # out of memory; smaller batches may still fit
        skipped[name] = str(error).splitlines()[0]
    # a call of a streamed run is a single step
    speed = contestants.measure(entries, rounds, 4 if gpu else 1)
  # use the better of two measurements, because other processes may share the machine
  rates = {k: max(v, rates[k]) for k, v in roofline.matmul_rates().items()}
  shares, macs = {}, roofline.resnet_macs(depth, side, CLASSES)
  for name, values in speed.items():
    precision, passes = about[name]
    shares[name] = 6 * macs * passes * contestants.spread(values)['median'] / rates[precision]
  return {
    'depth': depth, 'side': side, 'rounds': rounds, 'gmac': macs / 1e9,
    'images_per_s': {k: contestants.spread(v) for k, v in speed.items()},
    'share_of_matmul_rate': shares, 'skipped': skipped,
  }  # fmt: skip
