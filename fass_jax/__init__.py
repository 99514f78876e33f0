"""fass_jax: image classifiers trained on long-tailed data, in JAX.

Pure functions to use in a loop of your own, loaded when they are first asked for:

    fass_jax.score      the score matrix, target classes, mixing ratios (thesis, Eq. 3 to 5)
    fass_jax.mixing     MixUp, CutMix and their labels (Eq. 6 to 8a)
    fass_jax.counts     long-tailed class counts, the effective number (Eq. 1 and 2)
    fass_jax.losses     balanced_softmax, ldam, logit_adjustment, ...
    fass_jax.sampling   class-balanced, effective-number and other samplers
    fass_jax.regression smoothing of labels and features, losses and figures of regression

`fass_jax.train(config, workdir)` trains a run; `python -m fass_jax.main` and `fass-jax` are the
command line.
"""

from __future__ import annotations

import importlib
import pathlib
from typing import TYPE_CHECKING, Any

__version__ = '0.1.0'
__all__ = ['counts', 'losses', 'mixing', 'regression', 'sampling', 'score', 'train']

if TYPE_CHECKING:
  from ml_collections import ConfigDict

  from fass_jax import counts, losses, mixing, regression, sampling, score


def train(config: ConfigDict, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Trains a run to its end and returns its summary, as `python -m fass_jax.main` does.

  A run that the work directory holds is continued from its last checkpoint.

      from fass_jax.config import base_config, with_methods
      config = with_methods(base_config('digits_lt'), 'fass')
      fass_jax.train(config, 'runs/mine')['last']['top1']

  Args:
    config: a config, with its methods applied; `fass_jax.command.config_file.load_config` reads one
      from words of a command line.
    workdir: the folder of everything that the run writes.

  Returns:
    What `summary.json` holds: `last` and `best` with `top1`, `many`, `medium`, `few` in [0, 1] and
    more.

  Raises:
    UserError: for every mistake that the caller can mend.
  """
  from fass_jax.run.loop import run

  return run(config, workdir)


def __getattr__(name: str) -> Any:
  if name in __all__:
    return importlib.import_module(f'{__name__}.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted([*globals(), *__all__])
