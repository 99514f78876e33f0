"""A table with a class per row: an MLP on your CSV file, or on scikit-learn's breast cancer set.

    python -m fass_jax.main --config=configs/table.py:balanced_softmax --config.data.file=FILE

The class is in the last column, or in that of `--config.data.target=NAME`. Columns of numbers are
standardised, words become zeros and ones, missing values are refused. A fifth of each class is held
out for testing (`data.val_share`, chosen by `data.subset_seed`).

Without a file it is the breast cancer set, 285 benign and 28 malignant training rows
(`imb_factor`); a run takes seconds.
"""

from typing import Any

from fass_jax.config import base_config, methods, with_methods


def _of_rows(method, resampler):
  """What a method sets here that resamples features elsewhere: the rows, before training."""
  return dict.fromkeys(methods()[method]) | {'examples.resample': resampler}


# what changes pixels has no meaning for a row
OTHERWISE: dict[str, dict[str, Any]] = {
  'ride': {'augment.rotation15': False},
  'smote': _of_rows('smote', 'smote'),
  'borderline_smote': _of_rows('borderline_smote', 'borderline_smote_1'),
}


def get_config(method='balanced_softmax'):
  """Returns the config; `method` is what stands after the colon."""
  config = base_config('table')
  config.epochs = 30
  config.batch_size = 64
  config.imb_factor = 10.0  # of the built-in table; a file decides by itself
  config.net.backbone = 'mlp'
  config.data.augment = ()
  config.data.statistics = 'own'
  config.optim.lr = 0.05
  config.optim.curve = 'cosine'
  config.eval.shots = 'auto'
  return with_methods(config, method, OTHERWISE)
