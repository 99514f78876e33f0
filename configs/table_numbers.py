"""A table with a number per row to predict: an MLP on your CSV file.

    python -m fass_jax.main --config=configs/table_numbers.py:lds+fds --config.data.file=FILE

The number is in the last column, or in that of `--config.data.target=NAME`; its bins have the width
`--config.data.bin_width`, which should put a few to a few hundred rows into most bins. A fifth of
the rows is for testing and a fifth is held out, at random by `data.subset_seed`.
"""

from fass_jax.config import number_config, with_methods


def get_config(method='lds+fds'):
  """Returns the config; `method` is what stands after the colon."""
  return with_methods(number_config('table'), method)
