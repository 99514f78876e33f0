"""Features of finished runs in the plane: `python -m fass_jax.embed --help`."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

from fass_jax.command import flags as command
from fass_jax.command.free import check_sets, free_keys
from fass_jax.types import UserError

HELP = """\
Draw the features of a run's test images in the plane, by t-SNE and by principal components.

  python -m fass_jax.embed --workdir=A --out=DIR
  python -m fass_jax.embed --workdir=A --workdir=B --out=DIR     two runs side by side

DIR gets tsne.png and pca.png, coloured by class and by shot group, and for each run the features
(the input of the classifier), labels and points as features.npz and features.csv (features-1 and
features-2 of two runs). Of a run of several seeds, the network of the first seed.

Flags
  --workdir=DIR    of the run, as it was given to fass_jax.main; once or twice
  --out=DIR        where the files are written
  --which=last     the network after the last step, or best: of the epoch that did best on these
                   test images
  --points=5000    test images at most; of more, a part of each class is drawn
  --perplexity=30  of t-SNE: about the number of neighbours that a point is kept near
  --seed=0         of t-SNE and of the draw of the points
  --config.KEY=VALUE says where the data are now: {free}
  --help           this text

Exit code: 0 done; 1 the command has a mistake (one sentence); 130 stopped by Ctrl-C.
"""
DEFAULTS = {
  '--workdir': '',
  '--out': '',
  '--which': 'last',
  '--points': '5000',
  '--perplexity': '30',
  '--seed': '0',
}


def help_text() -> str:
  """Returns the text of --help."""
  return HELP.format(free=', '.join(free_keys()))


def parse(argv: Sequence[str]) -> tuple[command.Words, list[str]]:
  """Reads the command line; returns its words and the work directories.

  Raises:
    UserError: for an unknown flag or a wrong value.
  """
  words = command.read(argv, DEFAULTS, config=True)
  command.check_choices(words.flags, {'--which': ('last', 'best')})
  flags, places = words.flags, [value for name, value in words.given if name == '--workdir']
  if words.rest:
    raise UserError(f"'{words.rest[0]}' is no flag; `--help` lists the flags that there are.")
  if not 1 <= len(places) <= 2:
    raise UserError(f'--workdir is there {len(places)} times; give it once, or twice for two runs.')
  if not flags['--out']:
    raise UserError('Where to write is missing: give --out=DIR.')
  if pathlib.Path(flags['--out']).expanduser().is_file():
    raise UserError(f'--out={flags["--out"]} is a file; give a folder.')
  for name, least in (('--points', 2), ('--seed', 0)):
    if not flags[name].isdecimal() or int(flags[name]) < least:
      raise UserError(f'{name}={flags[name]} is not a whole number of {least} or more.')
  try:
    float(flags['--perplexity'])
  except ValueError as error:
    raise UserError(f'--perplexity={flags["--perplexity"]} is not a number.') from error
  check_sets(words.sets)
  return words, places


def work(words: command.Words, places: Sequence[str]) -> int:
  """Draws the runs; returns the exit code."""
  from fass_jax.report import embedding  # late: --help answers without it
  from fass_jax.workdir.open import open_run

  flags = words.flags
  runs = [open_run(place, flags['--which']) for place in places]
  how = embedding.How(
    int(flags['--points']), float(flags['--perplexity']), int(flags['--seed']), words.sets
  )
  embedding.embed(runs, places, how, pathlib.Path(flags['--out']).expanduser())
  return 0


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code, see `HELP`."""
  argv = sys.argv[1:] if argv is None else argv
  return command.end(argv, help_text, lambda: work(*parse(argv)))


if __name__ == '__main__':
  sys.exit(main())
