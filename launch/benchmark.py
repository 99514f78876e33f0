"""Speed, first-step latency and memory of the train step, beside the same step in PyTorch.

    python launch/benchmark.py [--depth=32] [--batch-size=128] [--steps=2] [--json=FILE] [--quick]

Trains on random uint8 images in the shape of CIFAR-100-LT (10,847 of 32 x 32, imbalance factor
100), so it needs no data. images/s counts natural images only, B a step: FASS' mixed images are
work, not yield. The contestants take turns within one run, so that a ratio compares neighbours in
time. Latency and memory come from fresh processes.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import platform
import resource
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fass_jax
from fass_jax import programs, score, step, views
from fass_jax import recipe as recipes
from fass_jax.config import config_dir
from fass_jax.data.samplers import index_classes
from fass_jax.nets.base import apply, test_logits
from fass_jax.types import Dataset

METHODS = ('ce', 'fass')
TARGET = 1.75  # a FASS step may cost this many CE steps
CLASSES, SIDE = 100, 32
WARM_UP = 2  # steps before the clock starts

Steps = Callable[[int], None]  # does n steps and waits for the last
Size = tuple[int, int]  # depth, batch size


def random_dataset() -> Dataset:
  """Makes noise with the class counts of CIFAR-100-LT, imbalance factor 100."""
  rng = np.random.default_rng(0)
  count = [int(500 * 0.01 ** (c / (CLASSES - 1))) for c in range(CLASSES)]
  labels = np.repeat(np.arange(CLASSES, dtype=np.int32), count)
  images = rng.integers(0, 256, (len(labels), SIDE, SIDE, 3), dtype=np.uint8)
  index = np.arange(len(labels), dtype=np.int32)
  names = tuple(str(c) for c in range(CLASSES))
  return Dataset('noise', images, labels, index, images[:1], labels[:1], names)


class JaxRun:
  """A run of fass_jax with all its views on, advanced by the program that training uses."""

  def __init__(self, method: str, size: Size, data: Dataset):
    get_config = runpy.run_path(str(config_dir() / 'cifar100_lt.py'))['get_config']
    config = get_config(method)
    config.net.depth, config.batch_size = size
    self.recipe = recipes.build(config, data)
    key = jax.random.key(0)
    self.state = step.init_state(self.recipe, key, data.train_images.shape[1:])
    classes = index_classes(data.train_labels, CLASSES)
    arrays = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    self.store = views.Store(*arrays, classes)
    self.plan = step.plan_epoch(self.recipe, key, self.state.step, self.store)
    active = tuple(self.recipe.views)
    one = programs.Key((active,), 1)
    self.program = programs.compile_program(
      self.recipe, one, 1, self.state, self.store, self.plan, None
    )

  def __call__(self, n: int) -> None:
    """Does n steps and waits for the last."""
    for _ in range(n):
      self.state, done = self.program(self.state, self.store, self.plan)
    done.block_until_ready()

  def fill_scores(self) -> None:
    """Ends an epoch early: the sums so far and one image of every class become the matrix."""
    if 'score' not in self.state.signals:
      return
    first = self.store.classes.order[self.store.classes.start]
    variables = {'params': self.state.params, 'batch_stats': self.state.batch_stats}
    x = self.recipe.normalise(self.store.images[first])
    outs, _ = apply(self.recipe.net, variables, x, False)
    labels = self.store.labels[first]
    filled = score.refresh(score.observe(self.state.signals['score'], test_logits(outs), labels))
    assert bool((filled.matrix.sum(-1) > 0).all()), 'a class without scores has random partners'
    self.state = self.state._replace(signals={'score': filled})


def contestant(
  framework: str, method: str, size: Size, data: Dataset
) -> tuple[Steps, Callable[[], None]]:
  """Returns the steps of a run, and what fills its score matrix."""
  if framework == 'fass_jax':
    run = JaxRun(method, size, data)
    return run, run.fill_scores
  import torch_baseline

  rival = torch_baseline.Run(data.train_images, data.train_labels, CLASSES, *size)
  return functools.partial(torch_baseline.advance, rival, method), rival.fill_scores


def has_torch() -> bool:
  """Returns whether PyTorch is there, and says in one sentence what is missing if not."""
  try:
    import torch  # noqa: F401
  except ModuleNotFoundError:
    print('PyTorch is missing, so only fass_jax is measured; pip install -e .[parity]')
    return False
  return True


def measure(runs: dict[str, Steps], rounds: int, n: int) -> dict[str, list[float]]:
  """Returns seconds a step for every run and round; the runs take turns."""
  seconds: dict[str, list[float]] = {name: [] for name in runs}
  for i in range(rounds):
    # the order turns round every time, so that no run always follows the same neighbour
    for name in list(runs)[:: 1 if i % 2 == 0 else -1]:
      begin = time.perf_counter()
      runs[name](n)
      seconds[name].append((time.perf_counter() - begin) / n)
  return seconds


def spread(values: list[float]) -> dict[str, float]:
  """Returns median, minimum and maximum."""
  return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def throughput(size: Size, rounds: int, n: int, torch_too: bool) -> dict[str, Any]:
  """Measures images/s of every contestant, and the ratios round by round."""
  data = random_dataset()
  runs: dict[str, Steps] = {}
  for framework in ('fass_jax', 'torch') if torch_too else ('fass_jax',):
    for method in METHODS:
      run, fill_scores = contestant(framework, method, size, data)
      run(WARM_UP)
      fill_scores()
      run(1)
      runs[f'{framework} {method}'] = run
  s = measure(runs, rounds, n)

  def ratio(over: str, under: str) -> dict[str, float]:
    return spread([a / b for a, b in zip(s[over], s[under])])

  ratios = {'time fass/ce, fass_jax': ratio('fass_jax fass', 'fass_jax ce')}
  if 'torch ce' in s:
    ratios['time fass/ce, torch'] = ratio('torch fass', 'torch ce')
    for method in METHODS:
      ratios[f'speed fass_jax/torch, {method}'] = ratio(f'torch {method}', f'fass_jax {method}')
  speed = {name: spread([size[1] / x for x in values]) for name, values in s.items()}
  return {'images_per_s': speed, 'ratios': ratios}


def peak_memory_mib(framework: str) -> float:
  """Returns the peak of this process: of the device where it has its own memory, else resident."""
  if framework == 'torch':
    import torch

    if torch.cuda.is_available():
      return torch.cuda.max_memory_allocated() / 2**20
  else:
    stats = jax.local_devices()[0].memory_stats()
    if stats and 'peak_bytes_in_use' in stats:
      return stats['peak_bytes_in_use'] / 2**20
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts in KiB


def child(framework: str, method: str, size: Size) -> None:
  """Does two steps in this process; prints latency and peak memory as JSON."""
  data = random_dataset()
  if framework == 'fass_jax':
    jax.devices()  # starting the device is no part of the first step
  begin = time.perf_counter()
  run, _ = contestant(framework, method, size, data)
  run(1)
  first = time.perf_counter() - begin
  run(1)
  print(json.dumps({'first_step_s': first, 'peak_mib': peak_memory_mib(framework)}))


def cache_settings(folder: pathlib.Path) -> dict[str, str | int]:
  """Returns the settings of jax that keep every compiled program in a folder."""
  return {
    'jax_compilation_cache_dir': str(folder),
    'jax_persistent_cache_min_compile_time_secs': 0,
    'jax_persistent_cache_min_entry_size_bytes': -1,
  }


def spawn(framework: str, method: str, size: Size, cache: pathlib.Path) -> dict[str, float]:
  """Runs `child` in a fresh process with its compile cache at `cache`."""
  command = [sys.executable, __file__, f'--child={framework}', f'--method={method}']
  command += [f'--depth={size[0]}', f'--batch-size={size[1]}']
  settings = {name.upper(): str(value) for name, value in cache_settings(cache).items()}
  done = subprocess.run(
    command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True
  )
  return json.loads(done.stdout.splitlines()[-1])


def latency_and_memory(size: Size, torch_too: bool, caches: pathlib.Path) -> dict[str, Any]:
  """Measures the first step with an empty and with a warm compile cache, and peak memory."""
  first: dict[str, dict[str, float]] = {}
  memory: dict[str, float] = {}
  for method in METHODS:
    cold, warm = (spawn('fass_jax', method, size, caches / method) for _ in range(2))
    first[method] = {'cold': cold['first_step_s'], 'warm': warm['first_step_s']}
    memory[f'fass_jax {method}, compiling'] = cold['peak_mib']
    memory[f'fass_jax {method}, compile cache warm'] = warm['peak_mib']
    if torch_too:
      memory[f'torch {method}'] = spawn('torch', method, size, caches)['peak_mib']
  return {'first_step_s': first, 'peak_memory_mib': memory}


def describe(size: Size, rounds: int, n: int) -> dict[str, Any]:
  """Returns what the figures hold for."""
  device = jax.local_devices()[0]
  versions = {'python': platform.python_version(), 'jax': jax.__version__}
  versions['fass_jax'] = fass_jax.__version__
  if 'torch' in sys.modules:
    versions['torch'] = sys.modules['torch'].__version__
  return {
    'device': f'{device.platform}: {device.device_kind}', 'cpu_cores': os.cpu_count(),
    'versions': versions, 'depth': size[0], 'batch_size': size[1],
    'rounds': rounds, 'steps_per_round': n,
  }  # fmt: skip


def table(figures: dict[str, Any]) -> str:
  """Returns the figures as a Markdown table."""
  rows = ['| figure | median | min | max |', '|---|---|---|---|']
  for name, v in figures['images_per_s'].items():
    rows.append(f'| images/s, {name} | {v["median"]:.1f} | {v["min"]:.1f} | {v["max"]:.1f} |')
  for name, v in figures['ratios'].items():
    goal = f' (at most {TARGET})' if name.endswith('ce, fass_jax') else ''
    rows.append(f'| {name}{goal} | {v["median"]:.2f} | {v["min"]:.2f} | {v["max"]:.2f} |')
  for method, v in figures['first_step_s'].items():
    for cache in ('cold', 'warm'):
      rows.append(f'| first step, {method}, compile cache {cache}, s | {v[cache]:.1f} | | |')
  for name, peak in figures['peak_memory_mib'].items():
    rows.append(f'| peak memory, {name}, MiB | {peak:.0f} | | |')
  return '\n'.join(rows)


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--depth', type=int, default=32, help='6n + 2')
  parser.add_argument('--batch-size', type=int, default=128)
  parser.add_argument('--rounds', type=int, default=4)
  parser.add_argument('--steps', type=int, default=2, help='steps of each contestant in a round')
  parser.add_argument('--quick', action='store_true', help='depth 8')
  parser.add_argument('--json', type=pathlib.Path, metavar='FILE')
  parser.add_argument('--child', choices=('fass_jax', 'torch'), help=argparse.SUPPRESS)
  parser.add_argument('--method', choices=METHODS, default='ce', help=argparse.SUPPRESS)
  args = parser.parse_args()
  size = 8 if args.quick else args.depth, args.batch_size
  # one process holds two frameworks: neither may take the whole GPU at once
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  if args.child:
    child(args.child, args.method, size)
    return
  torch_too = has_torch()
  with tempfile.TemporaryDirectory() as folder:
    caches = pathlib.Path(folder)
    # the fresh processes go first, while this one holds no memory; then it takes their programs
    figures = latency_and_memory(size, torch_too, caches)
    for method in METHODS:
      shutil.copytree(caches / method, caches / 'all', dirs_exist_ok=True)
    for name, value in cache_settings(caches / 'all').items():
      jax.config.update(name, value)
    figures |= throughput(size, args.rounds, args.steps, torch_too)
  figures = describe(size, args.rounds, args.steps) | figures
  if args.json:
    args.json.write_text(json.dumps(figures, indent=2) + '\n')
  print(', '.join(f'{k} {v}' for k, v in figures['versions'].items()))
  print(f'{figures["device"]}, {figures["cpu_cores"]} cores, depth {size[0]}, B {size[1]}')
  print('images/s counts the B natural images of a step only; FASS with rho 0.3, all views on.')
  print(f'{args.rounds} interleaved rounds of {args.steps} steps each.\n')
  print(table(figures))


if __name__ == '__main__':
  main()
