"""Classes of images or rows: `python -m fass_jax.predict --workdir=runs/mine a.jpg folder/`."""

from __future__ import annotations

import logging
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fass_jax.command import flags
from fass_jax.command.answers import answers
from fass_jax.types import UserError

if TYPE_CHECKING:
  from fass_jax.types import Implied
  from fass_jax.workdir.open import FinishedRun

log = logging.getLogger('fass_jax')

HELP = """\
Name the classes of image files, or of the rows of a table, by a run's network. The training data
are not needed. A run that predicts numbers answers with a number, in the unit of its labels.

  python -m fass_jax.predict --workdir=DIR a.jpg b.png folder/
  python -m fass_jax.predict --workdir=DIR --top=3 --csv=out.csv photos/
  python -m fass_jax.predict --workdir=DIR --prior=uniform photos/*.jpg
  python -m fass_jax.predict --workdir=DIR rows.csv

A folder stands for all image files below it. A run on a table takes CSV files with the columns that
it was trained with; the name of a row is FILE:LINE. The answers go to stdout, everything else to
stderr. Of a run of several seeds, the mean of their probabilities is the answer.

Flags
  --workdir=DIR      of the run, as it was given to fass_jax.main
  --top=5            so many classes of each image
  --which=last       the network after the last step, which is what papers report. best: of the
                     epoch that did best on the run's own test images; its accuracy there is
                     flattered by that choice, and rare classes may lose by it
  --prior=P          how often the classes come where you will use the network:
                       train     as in training
                       uniform   all equally often
                       FILE      CSV with the columns class,weight, or JSON {{"class": weight}};
                                 all classes of the run, weights >= 0 in any unit
                     each logit moves by log(P / prior of the model). Without it, as trained
  --model_prior=auto the prior that the network's logits stand for, to be taken out by --prior:
                     auto (from the run's loss, sampler and weights), train or uniform
  --csv=FILE         file,rank,class,probability (of numbers file,value) instead of the table; - is
                     stdout
  --batch=64         images or rows that are shown to the network together
  --decoder=NAME     {decoders}; that of the run, if not given
  --workers=0        threads that decode; 0 is one a core
  --help             this text

Exit code: 0 all images or rows were classified; 1 some could not be read (one line each, on stderr;
the others are there), or the command has a mistake (one sentence); 130 stopped by Ctrl-C.
"""

DEFAULTS = {
  '--workdir': '',
  '--top': '5',
  '--which': 'last',
  '--prior': '',
  '--model_prior': 'auto',
  '--csv': '',
  '--batch': '64',
  '--decoder': '',
  '--workers': '0',
}
DECODERS = ('pillow', 'fast')
CHOICES = {
  '--which': ('last', 'best'),
  '--model_prior': ('auto', 'train', 'uniform'),
  '--decoder': ('', *DECODERS),
}
LEAST = {'--top': 1, '--batch': 1, '--workers': 0}


class Options(NamedTuple):
  """A command line that has been checked."""

  words: dict[str, str]  # flags with a word, by name
  numbers: dict[str, int]  # flags with a number
  paths: list[str]  # files and folders


def parse(argv: Sequence[str]) -> Options:
  """Reads the command line.

  Args:
    argv: arguments without the program's name.

  Raises:
    UserError: for an unknown flag, a wrong value, or where there is nothing to do.
  """
  given = flags.read(argv, DEFAULTS)
  words, paths = given.flags, given.rest
  flags.check_choices(words, CHOICES)
  numbers = {}
  for name, least in LEAST.items():
    text = words.pop(name)
    if not text.isdecimal() or int(text) < least:
      raise UserError(f'{name}={text} is not a whole number of {least} or more.')
    numbers[name] = int(text)
  if not words['--workdir']:
    raise UserError('The work directory of a run is missing: give --workdir=DIR.')
  if not paths:
    raise UserError(
      'No image was named: give image files or folders, or CSV files of rows, after the flags.'
    )
  return Options(words, numbers, paths)


def find(paths: Sequence[str]) -> list[str]:
  """Returns the image files that are meant, each once: files as they are, folders searched.

  Raises:
    UserError: for a path that is not there, or if there is no image.
  """
  from fass_jax.data.sets.folder import ENDS, find_images

  found: list[str] = []
  for path in paths:
    if not os.path.exists(path):
      raise UserError(f"There is no file or folder '{path}'; check the name.")
    found += find_images(pathlib.Path(path)) if os.path.isdir(path) else [path]
  if not found:
    raise UserError(f'No image was found in {", ".join(paths)}; images end in {", ".join(ENDS)}.')
  return list(dict.fromkeys(found))


def implied_by(run: FinishedRun) -> Implied:
  """Returns the class prior that a run's logits imply, as its checkpoint notes it."""
  if run.implied is not None:
    return run.implied
  # older than the note: it follows from the config
  from fass_jax.recipe.prior import implied

  return implied(run.config, run.counts)


def choose_prior(run: FinishedRun, prior: str, model: str) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns the prior that the logits imply and the one that is expected; None to change nothing.

  Args:
    run: the run.
    prior: --prior, '' if it was not given.
    model: --model_prior.

  Raises:
    UserError: for a file that is no prior over the run's classes.
  """
  from fass_jax.classifiers import prior_shift

  if not prior:
    if model != 'auto':
      raise UserError(f'--model_prior={model} does nothing without --prior; give both, or neither.')
    return None
  wanted = prior_shift.wanted(prior, run.classes, run.counts)
  if model != 'auto':
    return prior_shift.wanted(model, run.classes, run.counts), wanted
  found = implied_by(run)
  log.info(
    'The logits stand for a class prior of %.3g to %.3g, taken out for --prior=%s.',
    found.prior.max(),
    found.prior.min(),
    prior,
  )
  if found.guesses:
    log.info(
      'That prior is approximate: %s; --model_prior=train or uniform sets another.',
      ', '.join(found.guesses),
    )
  return found.prior, wanted


def warn_of_classifier(run: FinishedRun) -> None:
  """Says so where the figures of a run are of another classifier than answers here."""
  from fass_jax.classifiers import CLASSIFIERS

  name = run.config.classifier
  kind = CLASSIFIERS[name]
  if not kind.fitted and not run.config.classifier_args.calibrate:
    return
  instead = f' (--prior=uniform does what {name} does by default)' * kind.removes_prior
  log.warning(
    "The run's figures are of the classifier %s; here its network answers as it was trained, whose "
    'figures are under as_trained in summary.json%s.',
    name if kind.fitted else 'with calibrated probabilities',
    instead,
  )


def check_numbers(words: dict[str, str], numbers: dict[str, int]) -> None:
  """Refuses flags about classes for a run that predicts numbers.

  Raises:
    UserError: with the flag.
  """
  given = [f'{name}={words[name]}' for name in ('--prior', '--model_prior')
           if words[name] != DEFAULTS[name]]  # fmt: skip
  if numbers['--top'] != int(DEFAULTS['--top']):
    given.append(f'--top={numbers["--top"]}')
  if given:
    raise UserError(f'{given[0]} is about classes, but this run predicts numbers; drop it.')


def work(options: Options) -> int:
  """Classifies the images or rows; returns the number of those that could not be read."""
  from fass_jax.data.images import streaming
  from fass_jax.engine import compiler, predictor
  from fass_jax.recipe.tasks import task_of
  from fass_jax.workdir.open import open_run

  words, numbers = options.words, options.numbers
  run = open_run(words['--workdir'], words['--which'])
  of_numbers = task_of(run.config, None).values is not None
  if of_numbers:
    check_numbers(words, numbers)
  rows = predictor.open_rows(run, options.paths) if run.reads_rows else None
  files = rows.names if rows else find(options.paths)
  compiler.use_cache(run.config.engine.cache)
  warn_of_classifier(run)
  prior = choose_prior(run, words['--prior'], words['--model_prior'])
  what = 'Numbers' if of_numbers else f'{len(run.classes)} classes'
  log.info('%s; the network of %s (%s).', what, run.at, words['--which'])
  if len(run.variables) > 1:
    what = 'numbers' if of_numbers else 'probabilities'
    log.info('The %s are the mean over the %d seeds of the run.', what, len(run.variables))
  # a power of 2: few images need no large batch, and programs are compiled for few sizes
  size = min(numbers['--batch'], 1 << (len(files) - 1).bit_length())
  predict = predictor.predictor(run, size, prior)
  broken, top = 0, min(numbers['--top'], len(run.classes))
  with (
    answers(words['--csv'], files, None if of_numbers else run.classes) as put,
    streaming.threads(numbers['--workers']) as pool,
  ):
    decoder = words['--decoder'] or run.config.data.decoder
    images = () if rows else predictor.load(run, files, size, decoder, pool)
    for batch in predictor.load_rows(rows, size) if rows else images:
      for path, reason in batch.broken:
        log.error('%s cannot be read: %s', path, reason)
      broken += len(batch.broken)
      for path, p in zip(batch.paths, predict(batch.images)):
        if of_numbers:
          put(path, float(p))
          continue
        for rank, c in enumerate(np.argsort(-p, kind='stable')[:top], 1):
          put(path, rank, run.classes[c], float(p[c]))
  if broken:
    noun = 'rows' if rows else 'images'
    log.error('%d of %d %s could not be read.', broken, len(files), noun)
  if words['--csv'] not in ('', '-'):
    log.info('Wrote %s.', words['--csv'])
  return broken


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code, see `HELP`."""
  argv = sys.argv[1:] if argv is None else argv

  def do() -> int:
    options = parse(argv)
    from fass_jax.workdir.files import explain_full_disk  # late: --help answers without it

    target = options.words['--csv']
    where = pathlib.Path('stdout' if target in ('', '-') else target)
    with explain_full_disk(where, 'it begins anew'):
      return int(work(options) > 0)

  return flags.end(argv, lambda: HELP.format(decoders=' or '.join(DECODERS)), do)


if __name__ == '__main__':
  sys.exit(main())
