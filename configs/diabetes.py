"""Diabetes, scikit-learn's: how far the disease has progressed, from ten numbers. No download.

    python -m fass_jax.main --config=configs/diabetes.py:lds+fds

442 rows, 60 % for training, 20 % held out to choose hyper-parameters, 20 % for testing, at random
by `data.subset_seed`. The label, 25 to 346, is in bins of 25. A run takes seconds.
"""

from fass_jax.config import number_config, with_methods


def get_config(method='lds+fds'):
  """Returns the config; `method` is what stands after the colon."""
  config = number_config('diabetes')
  config.data.bin_width = 25.0
  return with_methods(config, method)
