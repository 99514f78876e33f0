"""Long-tailed digits: 383 real 8x8 images, imbalance factor 20, ResNet-8. No download.

python -m fass_jax.main --config=configs/digits_lt.py:fass
"""

from fass_jax.config import base_config, with_methods


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
  return with_methods(config, method)
