"""The metrics of a finished run, with any classifier: `python -m fass_jax.evaluate --help`."""

from __future__ import annotations

import logging
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fass_jax.command import flags as command
from fass_jax.command.free import check_sets, free_keys
from fass_jax.types import UserError

if TYPE_CHECKING:
  from ml_collections import ConfigDict

  from fass_jax.classifiers.base import Classifier, Setting
  from fass_jax.report.judge import Judge
  from fass_jax.types import Implied
  from fass_jax.workdir.open import FinishedRun

log = logging.getLogger('fass_jax')

HELP = """\
Evaluate a finished run on its test set, with its own classifier or another that needs no training.

  python -m fass_jax.evaluate --workdir=DIR
  python -m fass_jax.evaluate --workdir=DIR --classifier=tau_norm --tau=1
  python -m fass_jax.evaluate --workdir=DIR --classifier=post_hoc --prior=uniform --shifts

The table goes to stdout, everything else to stderr; all numbers to evaluation-CLASSIFIER.json in
the work directory, which is not changed otherwise. Of a run of several seeds, the mean.

Flags
  --workdir=DIR      of the run, as it was given to fass_jax.main
  --which=last       the network after the last step, or best: of the epoch that did best on these
                     test images, whose figures that choice flatters
  --classifier=NAME  {classifiers}; that of the run, if not given
  --tau=T            of tau_norm: a power of the weights' norms, auto: chosen on the held-out part;
                     of post_hoc: how often the log prior is taken out, auto: 1
  --prior=P          of post_hoc: the class prior at test time: uniform, train, or a FILE as
                     fass_jax.predict takes it
  --ncm=KIND         of ncm: cl2n, l2n, un or cosine
  --calibrate        logits over a temperature that is fitted on the held-out part
  --shifts           on long-tailed test sets too, forward and backward, by reweighting the classes;
                     --shifts=resample draws a part of the test images instead
  --seed=0           of that draw
  --train            the training images too, as they are: the recall of the worst class there, and
                     the test set's over it
  --config.KEY=VALUE says where the data are now: {free}
  --help             this text

What is chosen is chosen on a part of the training set that was not trained on, which a run has if
it was started with --config.data.held_out=0.1; never on the test set.

Exit code: 0 done; 1 the command has a mistake (one sentence); 130 stopped by Ctrl-C.
"""
DEFAULTS = {
  '--workdir': '',
  '--which': 'last',
  '--classifier': '',
  '--tau': '',
  '--prior': '',
  '--ncm': '',
  '--calibrate': '',
  '--shifts': '',
  '--train': '',
  '--seed': '0',
}
ALONE = {'--calibrate': 'true', '--shifts': 'reweight', '--train': 'true'}
CHOICES = {
  '--which': ('last', 'best'),
  '--shifts': ('', 'reweight', 'resample'),
  '--calibrate': ('', 'true', 'false'),
  '--train': ('', 'true', 'false'),
}


def help_text() -> str:
  """Returns the text of --help."""
  from fass_jax.classifiers import CLASSIFIERS

  return HELP.format(classifiers=', '.join(CLASSIFIERS), free=', '.join(free_keys()))


def parse(argv: Sequence[str]) -> command.Words:
  """Reads the command line.

  Args:
    argv: arguments without the program's name.

  Raises:
    UserError: for an unknown flag or a wrong value.
  """
  words = command.read(argv, DEFAULTS, ALONE, config=True)
  command.check_choices(words.flags, CHOICES)
  if words.rest:
    raise UserError(f"'{words.rest[0]}' is no flag; `--help` lists the flags that there are.")
  if not words.flags['--workdir']:
    raise UserError('The work directory of a run is missing: give --workdir=DIR.')
  if not words.flags['--seed'].isdecimal():
    raise UserError(f'--seed={words.flags["--seed"]} is not a whole number of 0 or more.')
  if words.flags['--seed'] != '0' and words.flags['--shifts'] != 'resample':
    raise UserError(
      f'--seed={words.flags["--seed"]} does nothing without --shifts=resample, whose draw it is of.'
    )
  check_sets(words.sets)
  return words


def configured(run: FinishedRun, words: command.Words) -> ConfigDict:
  """Returns the run's config with what the command says of the classifier and of the data.

  Raises:
    UserError: for a flag that the classifier does not read.
  """
  from fass_jax.classifiers import CLASSIFIERS
  from fass_jax.command.overrides import override
  from fass_jax.config.lookup import did_you_mean

  config, flags = run.config, words.flags
  name = flags['--classifier'] or config.classifier
  if name not in CLASSIFIERS:
    raise UserError(f"There is no '{name}' for --classifier{did_you_mean(name, CLASSIFIERS)}")
  # these flags are keys of the section `classifier_args`
  for key in dict.fromkeys(k for kind in CLASSIFIERS.values() for k in kind.reads):
    value = flags[f'--{key}']
    if value and key not in CLASSIFIERS[name].reads:
      users = ' or '.join(n for n in CLASSIFIERS if key in CLASSIFIERS[n].reads)
      raise UserError(
        f'--{key}={value} does nothing with --classifier={name}; it is of {users}, so give '
        f'--classifier={users.split(" ")[0]} or drop it.'
      )
    if value:
      config.classifier_args[key] = value
  config.classifier = name
  if flags['--calibrate']:
    config.classifier_args.calibrate = flags['--calibrate'] == 'true'
  return override(config, words.sets)


def implied_by(run: FinishedRun) -> Implied:
  """Returns the class prior that a run's logits imply, as its checkpoint notes it."""
  from fass_jax.recipe.prior import implied

  # older than the note: it follows from the config
  return implied(run.config, run.counts) if run.implied is None else run.implied


def of_numbers(run: FinishedRun, words: command.Words) -> int:
  """Evaluates a run that predicts numbers; returns the exit code.

  Raises:
    UserError: for a flag that is about classes.
  """
  from fass_jax.command.overrides import override
  from fass_jax.engine import compiler, devices
  from fass_jax.report import evaluation, regression
  from fass_jax.report.finished import load_data, material_of, place_data

  flags = words.flags
  kept_flags = ('--workdir', '--which')
  given = [f'{k}={v}' for k, v in flags.items() if k not in kept_flags and v != DEFAULTS[k]]
  if given:
    raise UserError(f'{given[0]} is about classes, but this run predicts numbers; drop it.')
  config = override(run.config, words.sets)
  compiler.use_cache(config.engine.cache)
  kept = place_data(config, load_data(run, config), False)
  where = devices.place(config.engine.devices)
  material = material_of(run, config, kept, where, False)
  log.info('%s: the network of %s (%s).', config.name, run.at, flags['--which'])
  variables = [devices.replicate(x, where) for x in run.variables]
  found = evaluation.evaluate_numbers(run, config, kept.data, material, variables)
  found = {'workdir': flags['--workdir'], 'which': flags['--which'], 'at': run.at} | found
  print(regression.evaluation_table(found))
  path = pathlib.Path(flags['--workdir']).expanduser() / f'evaluation-{config.task}.json'
  evaluation.write(path, found)
  log.info('Wrote %s.', path)
  return 0


def work(words: command.Words) -> int:
  """Evaluates the run; returns the exit code."""
  from fass_jax import classifiers
  from fass_jax.engine import compiler, devices
  from fass_jax.recipe import classifier
  from fass_jax.recipe.tasks import task_of
  from fass_jax.report import evaluation
  from fass_jax.report import judge as classify
  from fass_jax.report.finished import load_data, material_of, place_data
  from fass_jax.workdir.open import open_run

  flags = words.flags
  run = open_run(flags['--workdir'], flags['--which'])
  if task_of(run.config, None).values is not None:
    return of_numbers(run, words)
  config = configured(run, words)
  compiler.use_cache(config.engine.cache)
  setting: Setting = classifier.setting_of(config, run.classes, run.counts, implied_by(run), '--')
  made: Classifier = classifiers.build(config.classifier, setting)  # before anything is loaded
  with_train = flags['--train'] == 'true'
  reads_train = made.reads_train or with_train
  kept = place_data(config, load_data(run, config), reads_train)
  where = devices.place(config.engine.devices)
  material = material_of(run, config, kept, where, reads_train)
  judge: Judge = classify.judge(made, material)
  seen = None
  if with_train:
    assert material.train is not None
    seen = classify.judge(made, material._replace(test=material.train))
  log.info('%s: the network of %s (%s).', config.name, run.at, flags['--which'])
  variables = [devices.replicate(x, where) for x in run.variables]
  how, seed = flags['--shifts'], int(flags['--seed'])
  found = evaluation.evaluate(config, kept.data, judge, variables, how, seed, seen)
  found = {'workdir': flags['--workdir'], 'which': flags['--which'], 'at': run.at} | found
  print(evaluation.table(found))
  path = pathlib.Path(flags['--workdir']).expanduser() / f'evaluation-{config.classifier}.json'
  evaluation.write(path, found)
  log.info('Wrote %s.', path)
  return 0


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code, see `HELP`."""
  argv = sys.argv[1:] if argv is None else argv

  def do() -> int:
    words = parse(argv)
    from fass_jax.workdir.files import explain_full_disk  # late: --help answers without it

    with explain_full_disk(pathlib.Path(words.flags['--workdir']), 'it begins anew'):
      return work(words)

  return command.end(argv, help_text, do)


if __name__ == '__main__':
  sys.exit(main())
