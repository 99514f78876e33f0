"""CIFAR-10-LT: exponential profile, imbalance factor 100, ResNet-32, the recipe of LDAM-DRW.

    python -m fass_jax.main --config=configs/cifar10_lt.py:fass --config.imb_factor=50

The data set is downloaded on first use, or read from `--config.data.dir=DIR` (the original
archive or its unpacked folder).
"""

from typing import Any

from fass_jax.config import base_config, with_methods

# ConCutMix' authors, at imbalance factor 100; tau is .81 at 50 and 1 at 10
CONCUTMIX: dict[str, Any] = {'loss_args.concutmix.tau': 0.85, 'loss_args.concutmix.k': 3}
OTHERWISE = {
  'concutmix': CONCUTMIX | {'loss_args.concutmix.omega': ((0, 0.0), (0.5, 2 / 255))},
  'concutmix_area': CONCUTMIX,
}


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  return with_methods(base_config('cifar10_lt'), method, OTHERWISE)
