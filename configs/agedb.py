"""AgeDB: the age of a face, ResNet-50 from nothing, 90 epochs.

    python -m fass_jax.main --config=configs/agedb.py:lds+fds --config.data.dir=DIR

`DIR` holds the list agedb.csv with the columns age, path and split, such as the published split of
12,208 images for training and 2,140 each for validation and testing, and the images that it names
(the folder AgeDB/). The images must be asked of their authors. Bins are of one year, 0 to 120.

As published: crops of 224 pixels after padding by 16, flips, L1, batch 256. Published with Adam; it
is SGD here.
"""

from fass_jax.config import image_config, of_numbers, with_methods


def get_config(method='lds+fds'):
  """Returns the config; `method` is what stands after the colon."""
  config = of_numbers(image_config('agedb'))
  config.epochs = 90
  config.batch_size = 256
  config.data.label_range = (0.0, 121.0)
  config.data.augment = ('resized_crop', 'flip')
  config.data.crop_area = (0.75, 1.0)  # nearest to a crop after padding by 16 of 224
  config.optim.schedule = ((0, 1.0), (60, 0.1), (80, 0.01))
  config.eval.batch_size = 64
  config.eval.shots = 'fixed'
  return with_methods(config, method)
