"""Your own images with a number each to predict: ResNet-50, 90 epochs from nothing.

    python -m fass_jax.main --config=configs/folder_numbers.py:lds+fds --config.data.root=FILE

`FILE` is a CSV with the columns path, label and, if it has one, split (train, val, test), or a list
with lines `path number`. A folder with images below folders that are called by their number does
too. Without a split, a fifth is for testing, at random by `data.subset_seed`. The bins of the
number have the width `--config.data.bin_width`.
"""

from fass_jax.config import image_config, of_numbers, with_methods


def get_config(method='lds+fds'):
  """Returns the config; `method` is what stands after the colon."""
  config = of_numbers(image_config('folder'))
  config.name = 'folder_numbers'
  config.epochs = 90
  config.batch_size = 64
  config.optim.lr = 0.05
  config.eval.batch_size = 64
  return with_methods(config, method)
