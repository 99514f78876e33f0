"""Measures training speed on this machine, compared with PyTorch and with the device's limits.

    python launch/benchmark.py --quick            depth 8, under four minutes on a CPU
    python launch/benchmark.py --save             depth 32; into results/ and docs/performance.md
    python launch/benchmark.py --only pipeline --images=DIR --save    only this part

No data are needed: training uses random uint8 images with the shape of CIFAR-100-LT (10,847 of
32 x 32 pixels, imbalance factor 100). images/s counts only the B natural images per step, not the
mixed images of FASS. The candidates run in alternation within one process, so that a ratio compares
measurements close in time. Start-up, memory and the DataLoader loop have separate processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

# two frameworks share this process, so jax must not preallocate the GPU's memory
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
REPO = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # the checkout this script belongs to, installed or not

import jax

from fass_jax.command import config_file
from fass_jax.engine import (
  compiler,
  programs,
)
from fass_jax.run import loop
from launch.benchmarks import (
  contestants,
  growth,
  large,
  pipeline,
  report,
  roofline,
)
from launch.benchmarks.contestants import CLASSES, METHODS, JaxRun, Size, ratio, spread

PARTS = ('train', 'pipeline', 'large')


def spawn(*args: str) -> dict[str, Any]:
  """Runs this program in a separate process and returns its last output line, parsed as JSON."""
  command = [sys.executable, __file__, *args, f'--began={time.time()}']
  done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
  return json.loads(done.stdout.splitlines()[-1])


def first_step(cache: str, began: float) -> dict[str, float]:
  """Starts the default run and returns the seconds from process start to the end of a step."""
  polls: list[float] = []

  def stop() -> str:
    polls.append(time.time())
    # called after each program call: at the second call the first step is done
    return 'enough' if len(polls) == 2 else ''

  config = config_file.load_config([f'--config.engine.cache={cache}'])[0]
  with tempfile.TemporaryDirectory() as folder, contextlib.suppress(loop.Stopped):
    loop.run(config, folder, stop)
  return {'seconds': polls[1] - began, 'peak_mib': peak_memory_mib()}


def peak_memory_mib() -> float:
  """Returns this process's peak memory: device memory if there is any, else resident memory."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use'] / 2**20
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts in KiB


def start_up() -> dict[str, Any]:
  """Measures `--help` and the first step of the default run, with empty and with warm cache."""
  begin = time.perf_counter()
  subprocess.run(
    [sys.executable, '-m', 'fass_jax.main', '--help'], cwd=REPO, stdout=subprocess.PIPE, check=True
  )
  took = time.perf_counter() - begin
  with tempfile.TemporaryDirectory() as cache:
    cold, warm = (spawn('--child=first_step', f'--cache={cache}') for _ in range(2))
  return {
    'help_s': took,
    'digits_first_step_cold_s': cold['seconds'],
    'digits_first_step_warm_s': warm['seconds'],
    'digits_peak_mib': warm['peak_mib'],
  }


def throughput(
  size: Size, rounds: int, calls: int, seeds: int, torch_too: bool, quick: bool
) -> dict[str, Any]:
  """Measures images/s of all candidates, and ratios round by round."""
  chunk = programs.chunk_length(0, -(-10847 // size.batch))
  # on a CPU a compiled loop is so slow that two steps are enough
  runs = contestants.line_up(size, seeds, chunk if chunk > 1 else 2, quick)
  entries = contestants.compile_side_by_side(runs, () if chunk > 1 else ('ce in chunks',))
  entries[f'ce {seeds} seeds in turns'] = contestants.in_turns(runs['ce'], seeds)
  slow = {} if chunk > 1 else {'ce in chunks': entries.pop('ce in chunks')}
  if torch_too:
    entries |= contestants.torch_resident(contestants.random_dataset(), size, METHODS)
  speed = contestants.measure(entries, rounds, calls)
  if slow:
    speed |= contestants.measure(slow, 1, 1)
  figures: dict[str, Any] = {'images_per_s': {k: spread(v) for k, v in speed.items()}}
  pairs = {
    'time fass / ce': ('ce', 'fass'),
    'time mixup / ce': ('ce', 'mixup'),
    'speed vmapped / separate views': ('fass vmapped views', 'fass'),
    'speed joint / separate views': ('fass joint views', 'fass'),
    'speed bfloat16 / default': ('ce bfloat16', 'ce'),
    'speed float32 / default': ('ce float32', 'ce'),
    'speed chunks / steps': ('ce in chunks', 'ce'),
    f'speed {seeds} seeds in turns / 1': (f'ce {seeds} seeds in turns', 'ce'),
    f'speed {seeds} seeds batched / 1': (f'ce {seeds} seeds batched', 'ce'),
    f'speed {seeds} seeds batched, patches / 1': (f'ce {seeds} seeds batched, patches', 'ce'),
    f'speed {seeds} seeds batched in chunks / 1': (f'ce {seeds} seeds batched in chunks', 'ce'),
  }
  for m in METHODS:
    ours = f'{m} in chunks' if f'{m} in chunks' in entries else m
    pairs |= {f'speed fass_jax / {t}': (ours, t) for t in entries if t.endswith(f' {m}')
              and t.startswith('torch')}  # fmt: skip
  figures['ratios'] = {k: ratio(speed[a], speed[b]) for k, (a, b) in pairs.items() if a in speed}
  figures['compile_s'] = {k: {'seconds': r.compile_s} for k, r in runs.items()}
  best = max(max(speed[k]) for k in ('ce', 'ce in chunks') if k in speed)
  figures['roofline'] = against_the_limit(size, runs['ce'], size.batch / best)
  return figures


def against_the_limit(size: Size, run: JaxRun, step_s: float) -> dict[str, float]:
  """Compares the time of a CE step with the limits of the device's memory and arithmetic."""
  bandwidth, rates = roofline.copy_bandwidth(), roofline.matmul_rates()
  counted = roofline.cost(run.program)
  by_hand = roofline.analytic_step(size.depth, size.batch, CLASSES)
  rate = rates.get('tf32', rates['float32'])
  bound = roofline.limits(by_hand['flops'], by_hand['bytes'], bandwidth, rate)
  return {
    'copy_bandwidth_gb_per_s': bandwidth / 1e9,
    **{f'matmul_{k}_gflop_per_s': v / 1e9 for k, v in rates.items()},
    'xla_gflop_a_step': counted['flops'] / 1e9,
    'xla_gb_a_step': counted['bytes'] / 1e9,
    'by_hand_gflop_a_step': by_hand['flops'] / 1e9,
    'by_hand_gb_a_step': by_hand['bytes'] / 1e9,
    **bound,
    'step_s': step_s,
    'share_of_limit': roofline.share_of_limit(step_s, bound),
  }


def loaders(
  size: Size, methods: Sequence[str], rounds: int, ours: dict[str, Any]
) -> dict[str, Any]:
  """Measures PyTorch's DataLoader loops, and the speed of fass_jax relative to them."""
  found: dict[str, Any] = {}
  for m in methods:
    got = spawn(f'--child=loader-{m}', f'--depth={size.depth}', f'--batch-size={size.batch}',
                f'--rounds={rounds}')  # fmt: skip
    fast = max(v['median'] for k, v in ours.items() if k in (m, f'{m} in chunks'))
    theirs = spread(got['images_per_s'])
    found[m] = {'images_per_s': theirs, 'workers': got['workers'],
                'ours_over_theirs': fast / theirs['median']}  # fmt: skip
  return found


def describe(size: Size, rounds: int, calls: int) -> dict[str, Any]:
  """Returns the conditions of the measurements: device, versions, sizes."""
  device = jax.local_devices()[0]
  versions = {'python': platform.python_version(), 'jax': jax.__version__}
  if 'torch' in sys.modules:
    versions['torch'] = sys.modules['torch'].__version__
  return {
    'device': f'{device.platform}: {device.device_kind}', 'cpu_cores': os.cpu_count(),
    'versions': versions, 'depth': size.depth, 'batch_size': size.batch,
    'rounds': rounds, 'calls_per_round': calls,
  }  # fmt: skip


def parse() -> argparse.Namespace:
  """Reads the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--depth', type=int, default=32, help='6n + 2')
  parser.add_argument('--batch-size', type=int, default=128)
  parser.add_argument('--seeds', type=int, default=4, help='seeds for runs with several seeds')
  parser.add_argument('--rounds', type=int, default=4)
  parser.add_argument('--calls', type=int, default=2, help='calls of each candidate per round')
  parser.add_argument('--quick', action='store_true', help='depth 8, 2 seeds, no ResNet-50')
  parser.add_argument('--images', default='', metavar='DIR', help='more JPEGs for the pipeline')
  parser.add_argument(
    '--only', nargs='+', choices=PARTS, default=PARTS, help='parts to run; --save keeps the others'
  )
  parser.add_argument('--json', type=pathlib.Path, metavar='FILE')
  parser.add_argument('--markdown', type=pathlib.Path, metavar='FILE')
  parser.add_argument('--save', action='store_true', help='write results/ and docs/performance.md')
  for hidden in ('child', 'cache'):
    parser.add_argument(f'--{hidden}', help=argparse.SUPPRESS)
  parser.add_argument('--began', type=float, default=0.0, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.quick:
    args.depth, args.seeds, args.rounds = 8, 2, 3
  return args


def training(args: argparse.Namespace, size: Size, tell: Callable[[str], None]) -> dict[str, Any]:
  """Measures start-up, train steps, DataLoader loops, and growth with classes and images."""
  torch_too = contestants.has_torch()
  tell('start-up of the default run, with empty and with warm compile cache')
  figures: dict[str, Any] = {'start_up': start_up()}
  compiler.use_cache('auto')
  tell('train steps, in alternation')
  figures |= throughput(size, args.rounds, args.calls, args.seeds, torch_too, args.quick)
  if torch_too:
    tell("PyTorch's DataLoader loops")
    figures['loader'] = loaders(
      size,
      ('ce',) if args.quick else ('ce', 'fass'),
      1 if args.quick else 2,
      figures['images_per_s'],
    )
  tell('growth with classes and images')
  step_s = figures['roofline']['step_s'] if args.quick else None
  figures['growth'] = growth.growth(args.quick, size.depth, size.batch, step_s)
  return figures


def main() -> None:
  """Runs the benchmark."""
  args = parse()
  size = Size(args.depth, args.batch_size)
  if args.child == 'first_step':
    print(json.dumps(first_step(args.cache, args.began)))
    return
  if args.child:
    method = args.child.removeprefix('loader-')
    print(json.dumps(contestants.torch_loader(method, size, args.rounds)))
    return
  begin = time.monotonic()

  def tell(part: str) -> None:
    print(f'{time.monotonic() - begin:5.0f} s: {part}', file=sys.stderr, flush=True)

  parts: dict[str, Any] = {}
  if 'train' in args.only:
    parts |= training(args, size, tell)
  if 'pipeline' in args.only:
    tell('image files to batches, compared with a DataLoader')
    parts['pipeline'] = pipeline.pipeline(args.images, args.quick)
  if 'large' in args.only and not args.quick:
    tell('ResNet-50 at 224 pixels')
    parts['large'] = large.large()
  figures = describe(size, args.rounds, args.calls) | parts
  if 'train' in args.only:
    figures['wall_s'] = time.monotonic() - begin
  text = report.markdown(figures)
  for path, content in ((args.json, json.dumps(figures, indent=2) + '\n'), (args.markdown, text)):
    if path:
      path.write_text(content)
  if args.save:
    # the conditions describe the train steps; the other parts record their own
    report.save(figures, REPO, tuple(figures if 'train' in args.only else parts))
  print(text)


if __name__ == '__main__':
  main()
