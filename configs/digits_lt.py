"""Long-tailed digits: 383 real 8x8 images, imbalance factor 20, ResNet-8. No download.

python -m fass_jax.main --config=configs/digits_lt.py:fass
"""

from typing import Any

from fass_jax.config import base_config, with_methods

# what methods set otherwise here: a batch of 256 would leave two steps an epoch
SMALL: dict[str, Any] = {
  'batch_size': 64, 'optim.lr': 0.1, 'loss_args.concutmix.tau': 0.85, 'loss_args.concutmix.k': 3,
}  # fmt: skip
OTHERWISE = {
  'concutmix': SMALL | {'loss_args.concutmix.omega': ((0, 0.0), (0.5, 2 / 255))},
  'concutmix_area': SMALL,
}


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  config = base_config('digits_lt')
  config.epochs = 60
  config.batch_size = 64
  config.imb_factor = 20.0
  config.net.depth = 8
  config.data.augment = ('crop',)  # a mirrored digit is no digit
  config.data.mean = (0.3053, 0.3053, 0.3053)
  config.data.std = (0.3760, 0.3760, 0.3760)
  return with_methods(config, method, OTHERWISE)
