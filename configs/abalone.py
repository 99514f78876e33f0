"""UCI's abalone: the rings of a shell, which tell its age, from its sex and seven measures.

    python -m fass_jax.main --config=configs/abalone.py:lds+fds --config.data.dir=DIR

`DIR` holds abalone.csv, abalone.csv.gz or abalone.data. 4,177 rows, 60 % for training, 20 % held
out to choose hyper-parameters, 20 % for testing, at random by `data.subset_seed`. The label, 1 to
29, is in bins of one ring. A run takes less than a minute.
"""

from fass_jax.config import number_config, with_methods


def get_config(method='lds+fds'):
  """Returns the config; `method` is what stands after the colon."""
  return with_methods(number_config('abalone'), method)
