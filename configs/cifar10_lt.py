"""CIFAR-10-LT: exponential profile, imbalance factor 100, ResNet-32, the recipe of LDAM-DRW.

    python -m fass_jax.main --config=configs/cifar10_lt.py:fass --config.imb_factor=50

The data set is downloaded on first use, or read from `--config.data.dir=DIR` (the original
archive or its unpacked folder).

With the method `extrapolate` 17 classes of CIFAR-100 are auxiliary, 500 images each, as
`configs/neighbours/cifar10.csv` has them; T = 10 classes are tested. `data.dir` is then a folder
with the originals of both sets. CIFAR-100 has no look-alikes of birds and ships.
"""

from typing import Any

from fass_jax.config import base_config, with_methods

# what ConCutMix's authors set otherwise for 10 classes; at imbalance factors 50 and 10 their tau is
# .81 and 1 (--config.loss_args.rectified_la.tau)
_CONCUTMIX = {'loss_args.rectified_la.tau': 0.85, 'loss_args.rectified_la.k': 3}
OTHERWISE: dict[str, dict[str, Any]] = {
  'concutmix': _CONCUTMIX | {'loss_args.rectified_la.omega': 2 / 255},
  'concutmix_area': _CONCUTMIX,
  'concutmix_plain': _CONCUTMIX,
  'extrapolate': {'data.auxiliary': 'cifar100', 'data.neighbours': 'neighbours/cifar10.csv'},
}


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  return with_methods(base_config('cifar10_lt'), method, OTHERWISE)
