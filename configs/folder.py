"""A folder of your own images, a folder for each class: ResNet-50, 100 epochs from nothing.

    python -m fass_jax.main --config=configs/folder.py:fass --config.data.root=DIR

`DIR` holds <class>/*.jpg (or png, webp, bmp, gif, tif; at any depth), of which a fifth of each
class is held out (`data.val_share`, chosen by `data.subset_seed`); or train/<class>/ and
val/<class>/; or it is a list with lines `path label`, or a CSV with the columns path, label and,
if it has one, split.

A few hundred images are too few for a network from nothing. To start from one that was trained on
ImageNet instead, with a smaller rate and for fewer epochs:

    ... --config.start.weights=FILE --config.optim.lr=0.01 --config.epochs=30

A quick trial: --config.net.depth=18 --config.data.image_size=112 --config.epochs=20. Where a
mirrored image is another class (letters, signs): --config.data.augment="('resized_crop','jitter')".
"""

from fass_jax.config import image_config, with_methods


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  config = image_config('folder')
  config.epochs = 100
  config.batch_size = 64
  config.imb_factor = 1.0  # the folder decides
  config.optim.lr = 0.05  # the .1 of a batch of 128 to 256, less for one of 64
  config.optim.curve = 'cosine'
  config.optim.warmup_fraction = 0.05
  config.eval.batch_size = 64
  return with_methods(config, method)
