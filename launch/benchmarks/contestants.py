"""The candidates of the benchmark: runs of fass_jax and PyTorch that are advanced step by step."""

from __future__ import annotations

import functools
import runpy
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fass_jax.config.deltas import config_dir
from fass_jax.engine import programs, step, views
from fass_jax.recipe import build as recipes
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Dataset, Squares
from launch.benchmarks import growth, roofline

CLASSES, SIDE = 100, 32
METHODS = ('ce', 'mixup', 'fass')
WARM_UP = 2  # calls before the measurement


class Size(NamedTuple):
  """The sizes of a comparison."""

  depth: int
  batch: int


class Entry(NamedTuple):
  """A candidate of a comparison."""

  run: Callable[[int], None]  # makes n calls and waits for the last one
  images: int  # natural images per call


def random_dataset() -> Dataset:
  """Returns random images with the class counts of CIFAR-100-LT, imbalance factor 100: 10,847."""
  rng = np.random.default_rng(0)
  count = [int(500 * 0.01 ** (c / (CLASSES - 1))) for c in range(CLASSES)]
  labels = np.repeat(np.arange(CLASSES, dtype=np.int32), count)
  images = rng.integers(0, 256, (len(labels), SIDE, SIDE, 3), dtype=np.uint8)
  index = np.arange(len(labels), dtype=np.int32)
  names = tuple(str(c) for c in range(CLASSES))
  return Dataset('noise', images, labels, index, images[:1], labels[:1], names)


class JaxRun:
  """A run of fass_jax with all views active, using the same programs as training.

  Args:
    data: the training set.
    method: a method string.
    size: depth and batch size.
    seeds: number of seeds of a batched run.
    batched: True: all seeds in one program.
    length: steps per call.
    kind: name of the config file.
    **engine: overrides of config keys, with double underscores for dots.
  """

  def __init__(
    self, data: Dataset, method: str, size: Size, seeds: int = 1, batched: bool = False,
    length: int = 1, kind: str = 'cifar100_lt', **engine: Any,
  ):  # fmt: skip
    config = runpy.run_path(str(config_dir() / f'{kind}.py'))['get_config'](method)
    config.net.depth, config.batch_size = size
    config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in engine.items()})
    self.recipe = recipes.build(config, data)
    self.images = size.batch * seeds * length
    self.key = programs.Key((tuple(self.recipe.views),), length, batched)
    num_classes, images = len(data.class_names), data.train_images
    classes = index_classes(data.train_labels, num_classes)
    # encoded images stay on the host, so all image positions must be planned in advance
    here = isinstance(images, np.ndarray | Squares)
    arrays = jax.tree.map(jnp.asarray, images) if here else None, jnp.asarray(data.train_labels)
    self.store = views.Store(*arrays, classes)
    state = growth.made_up(self.recipe, data.image_shape)
    if 'score' in state.signals:
      # rows with sum 1, so that no class has random partners
      matrix = np.random.default_rng(0).dirichlet(np.ones(num_classes), num_classes)
      scores = state.signals['score']._replace(matrix=jnp.asarray(matrix, jnp.float32))
      state = state._replace(signals=state.signals | {'score': scores})
    plan = jax.jit(functools.partial(step.plan_epoch, self.recipe))(
      jax.random.key(0), state.step, self.store, *([] if here else [state.signals])
    )
    self.states, self.plan = [state], plan
    if batched:
      self.states, self.plan = [programs.stack([state] * seeds)], programs.stack([plan] * seeds)

  def compile(self) -> JaxRun:
    """Compiles the program and returns the run."""
    begin = time.perf_counter()
    self.program: Any = programs.compile_program(
      self.recipe, self.key, 1, self.states[0], self.store, self.plan, None
    )
    self.compile_s = time.perf_counter() - begin
    return self

  def __call__(self, n: int) -> None:
    """Makes n calls and waits for the last one."""
    self.advance(self.states, n)

  def advance(self, states: list[Any], n: int) -> None:
    """Makes n calls on each state, in place, and waits for the last one."""
    for _ in range(n):
      for i, state in enumerate(states):
        states[i], done = self.program(state, self.store, self.plan, None)
    done.block_until_ready()


def in_turns(run: JaxRun, seeds: int) -> Entry:
  """Returns a candidate with several seeds that alternate with the run's compiled program."""
  states = [jax.tree.map(jnp.copy, run.states[0]) for _ in range(seeds)]

  def call(n: int) -> None:
    run.advance(states, n)

  return Entry(call, seeds * run.images)


def compile_side_by_side(runs: dict[str, JaxRun], cold: Sequence[str] = ()) -> dict[str, Entry]:
  """Compiles runs in threads, makes one warm-up call each, and returns them as candidates.

  Args:
    runs: runs by name.
    cold: names of the runs that are too slow for a warm-up call.
  """
  with ThreadPoolExecutor(max_workers=4) as pool:
    list(pool.map(JaxRun.compile, runs.values()))
  entries = {}
  for name, run in runs.items():
    if name not in cold:
      run(1)
    entries[name] = Entry(run, run.images)
  return entries


def line_up(size: Size, seeds: int, chunk: int, quick: bool) -> dict[str, JaxRun]:
  """Returns the runs of fass_jax in the comparison, not compiled yet."""
  data = random_dataset()

  def run(method: str, **how: Any) -> JaxRun:
    return JaxRun(data, method, size, **how)

  runs = {m: run(m) for m in METHODS}
  runs['fass vmapped views'] = run('fass', forward='vmapped')
  runs['fass joint views'] = run('fass', forward='joint')
  runs['ce bfloat16'] = run('ce', engine__precision='bfloat16')
  if roofline.on_gpu():  # on a CPU, float32 and tf32 are the same program
    runs['ce float32'] = run('ce', engine__precision='float32')
    runs['fass bfloat16'] = run('fass', engine__precision='bfloat16')
    runs['fass in chunks'] = run('fass', length=chunk)
  runs['ce in chunks'] = run('ce', length=chunk)
  runs[f'ce {seeds} seeds batched'] = run('ce', seeds=seeds, batched=True)
  if not quick:
    runs[f'ce {seeds} seeds batched, patches'] = run(
      'ce', seeds=seeds, batched=True, engine__convolution='patches'
    )
  if roofline.on_gpu():
    runs[f'ce {seeds} seeds batched in chunks'] = run('ce', seeds=seeds, batched=True, length=chunk)
  return runs


def has_torch() -> bool:
  """Returns True if PyTorch is installed; otherwise prints how to install it."""
  try:
    import torch  # noqa: F401
  except ModuleNotFoundError:
    print('PyTorch is not installed, so only fass_jax is measured; pip install -e .[parity]')
    return False
  return True


def torch_resident(data: Dataset, size: Size, methods: Sequence[str]) -> dict[str, Entry]:
  """Returns PyTorch's loops with the data on the device, in the fastest forms for this device."""
  import torch

  from launch.benchmarks import torch_loops

  modes: list[tuple[str, str, dict[str, Any]]] = [('torch', 'eager', {})]
  if torch.cuda.is_available():
    modes += [
      ('torch compiled', 'compile', {}),
      ('torch graphs', 'graphs', {}),
      ('torch graphs bfloat16', 'graphs', {'bfloat16': True}),
    ]
  entries = {}
  assert isinstance(data.train_images, np.ndarray)
  for label, mode, options in modes:
    for method in methods:
      run = torch_loops.DeviceRun(
        data.train_images, data.train_labels, CLASSES, *size, method=method, mode=mode, **options
      )
      run.run(WARM_UP)
      if method == 'fass':
        run.fill_scores()
      run.run(1)
      entries[f'{label} {method}'] = Entry(run.run, size.batch)
  return entries


def torch_loader(method: str, size: Size, rounds: int) -> dict[str, Any]:
  """Measures the DataLoader loop, in a separate process without competition for its cores."""
  from launch.benchmarks import torch_loops

  data = random_dataset()
  assert isinstance(data.train_images, np.ndarray)
  run = torch_loops.LoaderRun(data.train_images, data.train_labels, CLASSES, *size, method=method)
  run.run(run.warm_up)
  # prefetched batches cost nothing, so run many more steps than there are prefetched batches
  n = max(4, 3 * run.ahead)
  speeds = []
  for _ in range(rounds):
    begin = time.perf_counter()
    run.run(n)
    speeds.append(n * size.batch / (time.perf_counter() - begin))
  workers = run.ahead // 2
  run.close()
  return {'images_per_s': speeds, 'workers': workers}


def measure(entries: dict[str, Entry], rounds: int, calls: int) -> dict[str, list[float]]:
  """Returns images/s per candidate and round; the candidates alternate."""
  speed: dict[str, list[float]] = {name: [] for name in entries}
  for i in range(rounds):
    # reverse the order in every round, so that no candidate always follows the same one
    for name in list(entries)[:: 1 if i % 2 == 0 else -1]:
      run, images = entries[name]
      begin = time.perf_counter()
      run(calls)
      speed[name].append(calls * images / (time.perf_counter() - begin))
  return speed


def spread(values: list[float]) -> dict[str, float]:
  """Returns median, minimum and maximum."""
  return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def ratio(over: list[float], under: list[float]) -> dict[str, float]:
  """Returns the spread of the ratios of two candidates, round by round."""
  return spread([a / b for a, b in zip(over, under)])
