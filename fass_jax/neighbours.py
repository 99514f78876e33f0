"""Auxiliary images for the method extrapolate: `python -m fass_jax.neighbours --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fass_jax.command import flags as command
from fass_jax.command.free import check_sets, free_keys
from fass_jax.types import UserError

HELP = """\
Choose images of classes that look like those of a run, for the method extrapolate.

  python -m fass_jax.neighbours --workdir=DIR --prompt
  python -m fass_jax.neighbours --workdir=DIR --candidates=IMAGES --answer=FILE --out=NEW
  python -m fass_jax.neighbours --workdir=DIR --candidates=IMAGES --out=NEW --low=.7 --high=.98

First, --prompt prints a text that asks any language model for neighbours of the rare classes. Save
its answer as FILE, collect images of what it names in IMAGES/<name>/, and run the second command.
An image is kept if the cosine of its feature to the mean feature of its target is within the
bounds: below --low it does not look like the target, above --high it may be a copy of one.

NEW gets the kept images, NEW/<name>/..., and NEW/neighbours.csv, ready for
--config.data.auxiliary=NEW --config.data.neighbours=NEW/neighbours.csv.

Flags
  --workdir=DIR      of a finished run, as it was given to fass_jax.main; its network gives the
                     features, of several seeds that of the first one
  --which=last       the network after the last step, or best: of the epoch that did best on the
                     test images
  --candidates=DIR   one folder of images per candidate class
  --answer=FILE      JSON, {{"class": ["neighbour", ...]}}; without it, the target of a candidate
                     class is the class with the largest mean cosine
  --out=DIR          a new or empty folder
  --low=.7           smallest cosine. Both bounds are published for DINOv2, and other networks have
  --high=.98         other cosines: choose by the distribution that the command prints
  --prompt           prints the text, and stops
  --config.KEY=VALUE says where the data are now: {free}
  --help             this text

Exit code: 0 done; 1 the command has a mistake (one sentence); 130 stopped by Ctrl-C.
"""
DEFAULTS = {
  '--workdir': '',
  '--which': 'last',
  '--candidates': '',
  '--answer': '',
  '--out': '',
  '--low': '0.7',
  '--high': '0.98',
  '--prompt': '',
}


def help_text() -> str:
  """Returns the text of --help."""
  return HELP.format(free=', '.join(free_keys()))


def parse(argv: Sequence[str]) -> command.Words:
  """Reads the command line.

  Raises:
    UserError: for an unknown flag, a wrong value, or bounds that are out of order.
  """
  words = command.read(argv, DEFAULTS, {'--prompt': 'true'}, config=True)
  flags = words.flags
  command.check_choices(flags, {'--which': ('last', 'best'), '--prompt': ('', 'true', 'false')})
  if words.rest:
    raise UserError(f"'{words.rest[0]}' is no flag; `--help` lists the flags that there are.")
  needed = ('--workdir',) if flags['--prompt'] == 'true' else ('--workdir', '--candidates', '--out')
  for name in needed:
    if not flags[name]:
      raise UserError(f'{name} is missing: give {name}=DIR.')
  try:
    low, high = (float(flags[name]) for name in ('--low', '--high'))
  except ValueError as error:
    raise UserError(
      f'--low={flags["--low"]} --high={flags["--high"]} are not two numbers.'
    ) from error
  if not -1 <= low < high <= 1:
    raise UserError(
      f'--low={flags["--low"]} --high={flags["--high"]} are out of order; a cosine is from -1 to '
      '1, and --low must be the smaller one.'
    )
  check_sets(words.sets)
  return words


def work(words: command.Words) -> int:
  """Prints the prompt, or chooses the images; returns the exit code."""
  from fass_jax.report import candidates, neighbour_names  # late: --help answers without it
  from fass_jax.workdir.open import open_run

  run = open_run(words.flags['--workdir'], words.flags['--which'])
  if words.flags['--prompt'] == 'true':
    e = run.config.eval
    print(neighbour_names.prompt(run.classes, run.counts, e.many, e.few))
  else:
    candidates.find(run, words.flags, words.sets)
  return 0


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code, see `HELP`."""
  argv = sys.argv[1:] if argv is None else argv
  return command.end(argv, help_text, lambda: work(parse(argv)))


if __name__ == '__main__':
  sys.exit(main())
