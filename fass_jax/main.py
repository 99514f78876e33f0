"""The command line: `python -m fass_jax.main --config=configs/digits_lt.py:fass`."""

from __future__ import annotations

import logging
import pathlib
import signal
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from fass_jax.command import config_file, explain, flags
from fass_jax.command.log import StopSignals
from fass_jax.config import stages

log = logging.getLogger('fass_jax')

HELP = """\
Train a classifier of images, or of rows of a table, on long-tailed data.

  python -m fass_jax.main                                            digits, FASS, no download
  python -m fass_jax.main --config=configs/cifar100_lt.py:fass       config file : method
  python -m fass_jax.main --config=configs/cifar100_lt.py:fass --config.imb_factor=50

Start the same command again to continue a run that was stopped.

Flags
  --config=FILE[:METHOD[+METHOD...]]   default: digits_lt.py:fass
  --workdir=DIR                        default: runs/<config>-<method>-seed<k>
  --recipe                             prints what the run would consist of, and stops
  --config.KEY=VALUE                   overrides one value of the config
  --help                               this text; --help NAME explains a config key or a method

Configs ({folder})
  {configs}

Methods (join them with +; --help NAME explains one)
{methods}

Main overrides
  --config.seed=1  --config.epochs=20  --config.batch_size=64  --config.imb_factor=50
  --config.net.depth=8  --config.optim.lr=0.1
  --config.data.dir=DIR       where the original archive or its unpacked folder lies
  --config.data.cache=DIR     where prepared sets are kept
  --config.data.image_size=N  scales the images
  --config.checkpoint.every_s=60  --config.checkpoint.every_steps=500
  --config.data.root=DIR      of folder.py: your images, a folder a class, or a list of them
  --config.data.file=FILE     of table.py: your table, a CSV file with a class per row
  --config.data.lists=DIR     of imagenet_lt.py and its kin: the lists of the split
  --config.data.store=resident  keeps image files on the device as squares, or stream
  --config.seeds=8            runs seeds 0 to 7 in one process, with mean, sd and 95 % interval
  --config.engine.precision=bfloat16  --config.engine.cache=off  (of compiled programs)
  --config.engine.devices=1   of the devices there are; all by default
  --config.start.weights=FILE  begins with pretrained weights (safetensors or PyTorch)
  --config.start.run=DIR      begins with the parameters of the run in this work directory
  --config.optim.only="('head',)"    trains this part alone and keeps the rest
  --config.classifier=ncm     figures at the end by a classifier that is fitted on the network;
                              fass_jax.evaluate does so with a finished run
  --config.teacher.run=DIR    the run whose network teaches, of the method distill, or looks, of
                              --config.augment.cam=True
  of FASS: --config.streams.pair.rho=0.3  --config.terms.fs.weight=0.8  (alpha)
           --config.streams.pair.lambda_min=0  --config.signals.score.decay=0
"""


def default_workdir(config: ConfigDict) -> pathlib.Path:
  """Returns `runs/<config>-<method>-seed<k>`."""
  last = config.seed + config.seeds - 1
  seeds = f'seed{config.seed}' if config.seeds == 1 else f'seeds{config.seed}-{last}'
  return pathlib.Path('runs') / f'{config.name}-{config.method}-{seeds}'


def work(argv: Sequence[str]) -> int:
  """Trains, or prints the recipe; returns 0, or 128 + n where signal n stopped it."""
  words = config_file.read(argv)
  config = config_file.resolve(words)
  # late: --help and a wrong flag answer without loading them
  from fass_jax.engine import devices
  from fass_jax.recipe import words as slots
  from fass_jax.run import loop

  if words.flags[config_file.RECIPE] == 'true':
    print(f'{config.name}, method {config.method}')
    for stage in stages.split(config, pathlib.Path('WORKDIR')):
      print(f'stage {stage.name}\n' * bool(stage.name) + slots.resolve(stage.config))
    return 0
  devices.join(config.engine.processes)
  if not devices.first():
    log.setLevel(logging.WARNING)
  workdir = words.flags['--workdir']
  with StopSignals(devices.several()) as stop:
    try:
      loop.run(config, pathlib.Path(workdir) if workdir else default_workdir(config), stop)
    except loop.Stopped as stopped:
      log.info('%s', stopped)
      return 128 + int(signal.Signals[stopped.name])
  return 0


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code: 0 done, 1 a user's mistake, 128 + n a signal."""
  argv = sys.argv[1:] if argv is None else argv
  return flags.end(argv, lambda: explain.answer(argv, HELP), lambda: work(argv))


if __name__ == '__main__':
  sys.exit(main())
