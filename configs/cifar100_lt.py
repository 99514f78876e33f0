"""CIFAR-100-LT: exponential profile, imbalance factor 100, ResNet-32, the recipe of LDAM-DRW.

    python -m fass_jax.main --config=configs/cifar100_lt.py:fass --config.imb_factor=50

The data set is downloaded on first use, or read from `--config.data.dir=DIR` (the original
archive or its unpacked folder).

With the method `extrapolate` the fifth class of each superclass, in the order of their labels, is
auxiliary, with all its 500 images and the other four as its targets. T = 80 classes are tested, of
500 to 5 images; figures are not comparable with those of 100 classes.
"""

from typing import Any

from fass_jax.config import base_config, with_methods

# what methods set otherwise here
OTHERWISE: dict[str, dict[str, Any]] = {
  'extrapolate': {'data.auxiliary': 'own', 'data.neighbours': 'neighbours/cifar100.csv'},
}


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  return with_methods(base_config('cifar100_lt'), method, OTHERWISE)
