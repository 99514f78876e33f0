"""CIFAR-10-LT: exponential profile, imbalance factor 100, ResNet-32, the recipe of LDAM-DRW.

    python -m fass_jax.main --config=configs/cifar10_lt.py:fass --config.imb_factor=50

The data set is downloaded on first use, or read from `--config.data.dir=DIR` (the original
archive or its unpacked folder).
"""

from fass_jax.config import base_config, with_methods


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  return with_methods(base_config('cifar10_lt'), method)
