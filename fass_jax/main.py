"""The command line: `python -m fass_jax.main --config=configs/digits_lt.py:fass`."""

from __future__ import annotations

import logging
import os
import pathlib
import runpy
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from fass_jax import stages
from fass_jax.config import config_dir, did_you_mean, flatten, methods
from fass_jax.overrides import override
from fass_jax.types import UserError

log = logging.getLogger('fass_jax')

RECIPE = '--recipe'
HELP = """\
Train an image classifier on long-tailed data.

  python -m fass_jax.main                                            digits, FASS, no download
  python -m fass_jax.main --config=configs/cifar100_lt.py:fass       config file : method
  python -m fass_jax.main --config=configs/cifar100_lt.py:fass --config.imb_factor=50

Start the same command again to continue a run that was stopped.

Flags
  --config=FILE[:METHOD[+METHOD...]]   default: digits_lt.py:fass
  --workdir=DIR                        default: runs/<config>-<method>-seed<k>
  --recipe                             prints what the run would consist of, and stops
  --config.KEY=VALUE                   overrides one value of the config
  --help                               this text

Configs ({folder})
  {configs}

Methods (join them with +)
  {methods}

Main overrides
  --config.seed=1  --config.epochs=20  --config.batch_size=64  --config.imb_factor=50
  --config.net.depth=8  --config.optim.lr=0.1
  --config.data.dir=DIR       where the original archive or its unpacked folder lies
  --config.data.cache=DIR     where prepared sets are kept
  --config.data.image_size=N  scales the images
  --config.checkpoint.every_s=60  --config.checkpoint.every_steps=500
  --config.data.root=DIR      of folder.py: your images, a folder a class, or a list of them
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


def help_text() -> str:
  """Returns the text of --help: flags, configs, methods and the main overrides."""
  known, names = '  '.join(shipped()), '  '.join(sorted(methods()))
  return HELP.format(folder=config_dir(), configs=known, methods=names)


def shipped() -> list[str]:
  """Returns the files of the config folder that are configs of runs."""
  files = sorted(config_dir().glob('*.py'))
  return [p.name for p in files if '\ndef get_config(' in p.read_text()]


def _read_config(value: str) -> ConfigDict:
  """Runs a config file, `path:methods`; shipped configs are found from anywhere.

  The file is run here and not by ml_collections' own flag, which loads it through an interface
  that Python is about to drop; the overrides are ml_collections'.
  """
  path, _, names = value.partition(':')
  for candidate in (pathlib.Path(path), config_dir() / pathlib.Path(path).name):
    if candidate.is_file():
      return runpy.run_path(str(candidate))['get_config'](*([names] if names else []))
  known = [f'configs/{name}' for name in shipped()]
  raise UserError(f"There is no config file '{path}'{did_you_mean(path, known)}")


def load_config(argv: Sequence[str]) -> tuple[ConfigDict, str, dict[str, Any]]:
  """Reads the command line.

  Args:
    argv: arguments without the program's name.

  Returns:
    The locked config, the work directory ('' if none was given), and the overrides.

  Raises:
    UserError: for an unknown file, method, key or value.
  """
  value, workdir, sets = f'{config_dir() / "digits_lt.py"}', '', []
  args = list(argv)
  while args:
    word = args.pop(0)
    name, equals, given = word.partition('=')
    name = '--' + name.lstrip('-')
    if name != '--config' and name != '--workdir' and not name.startswith('--config.'):
      known = ['--config', '--workdir', RECIPE, '--help']
      raise UserError(f"There is no flag '{word}'{did_you_mean(name, known)}")
    if not equals:
      if not args or args[0].startswith('--'):
        raise UserError(f'{name} needs a value: {name}=VALUE.')
      given = args.pop(0)
    if name == '--config':
      value = given
    elif name == '--workdir':
      workdir = given
    else:
      sets.append((name.removeprefix('--config.'), given))
  config = override(_read_config(value), sets)
  return config, workdir, {key: flatten(config)[key] for key, _ in sets}


def default_workdir(config: ConfigDict) -> pathlib.Path:
  """Returns `runs/<config>-<method>-seed<k>`."""
  last = config.seed + config.seeds - 1
  seeds = f'seed{config.seed}' if config.seeds == 1 else f'seeds{config.seed}-{last}'
  return pathlib.Path('runs') / f'{config.name}-{config.method}-{seeds}'


class StopSignals:
  """Remembers that SIGTERM or Ctrl-C came, for the loop to ask; a second one stops at once.

  Of several processes SIGTERM is jax's own: it makes all of them stop at the same step.
  """

  def __init__(self, shared: bool = False):
    self.name = ''
    self.shared = shared

  def __enter__(self) -> StopSignals:
    numbers = [signal.SIGINT] if self.shared else [signal.SIGTERM, signal.SIGINT]
    self.before = {n: signal.signal(n, self._came) for n in numbers}
    return self

  def __exit__(self, *error: Any) -> None:
    for number, handler in self.before.items():
      signal.signal(number, handler)

  def _came(self, number: int, frame: Any) -> None:
    if self.name:
      os._exit(128 + number)
    self.name = signal.Signals(number).name
    if self.shared:
      os.kill(os.getpid(), signal.SIGTERM)

  def __call__(self) -> str:
    """Returns '' or the name of the signal."""
    return self.name


def set_up_log() -> None:
  """Sends the log to stderr, and silences what the libraries say of failures."""
  for handler in log.handlers:
    if type(handler) is logging.StreamHandler:
      handler.stream = sys.stderr  # another one, where a program calls this one twice
  if log.handlers:
    return
  handler = logging.StreamHandler(sys.stderr)
  handler.setFormatter(logging.Formatter('%(message)s'))
  log.addHandler(handler)
  log.setLevel(logging.INFO)
  log.propagate = False
  silence_libraries()
  _leave_out_late_writes()


def silence_libraries() -> None:
  """Leaves out what they say of a full disk or a failed download: `UserError` says it shorter."""
  for name in ('absl', 'asyncio', 'orbax', 'urllib3'):
    logging.getLogger(name).setLevel(logging.CRITICAL)


def _leave_out_late_writes() -> None:
  """Silences what a full disk leaves behind: Orbax ends its loop at the first array that fails."""
  before = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    if str(unraisable.exc_value) != 'Event loop is closed':
      before(unraisable)

  sys.unraisablehook = hook
  warnings.filterwarnings('ignore', "coroutine 'async_serialize", RuntimeWarning)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code: 0 done, 1 a user's mistake, 128 + n a signal."""
  argv = sys.argv[1:] if argv is None else argv
  set_up_log()
  try:
    if any(a in ('--help', '-help', '-h', '--helpfull', '--helpshort') for a in argv):
      print(help_text())
      return 0
    config, workdir, _ = load_config([a for a in argv if a != RECIPE])
    # late: --help and a wrong flag answer without loading them
    from fass_jax import devices, slots, train

    if RECIPE in argv:
      print(f'{config.name}, method {config.method}')
      for stage in stages.split(config, pathlib.Path('WORKDIR')):
        print(f'stage {stage.name}\n' * bool(stage.name) + slots.resolve(stage.config))
      return 0

    devices.join(config.engine.processes)
    if not devices.first():
      log.setLevel(logging.WARNING)
    with StopSignals(devices.several()) as stop:
      try:
        train.run(config, pathlib.Path(workdir) if workdir else default_workdir(config), stop)
      except train.Stopped as stopped:
        log.info('%s', stopped)
        return 128 + int(signal.Signals[stopped.name])
  except UserError as error:
    print(f'fass_jax: {error}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main())
