"""iNaturalist 2018: 437,513 images of 8,142 classes, 1,000 to 2 a class, ResNet-50, 100 epochs.

    python -m fass_jax.main --config=configs/inat18.py:fass \\
      --config.data.dir=DIR --config.data.lists=DIR

`data.dir` holds the folder train_val2018/ of the competition, `data.lists` the lists
iNaturalist18_{train,val}.txt. There is no test list: the field reports the val list, three images
a class, and tunes on it, too.

Batch 256, 100 epochs, learning rate .1 and its steps at 60 and 80 are those of CMO and CUDA (Park
et al., CVPR 2022; Ahn et al., ICLR 2023), weight decay 1e-4 and no jitter those of Kang et al.,
ICLR 2020, and BCL (Zhu et al., CVPR 2022).
"""

from typing import Any

from fass_jax.config import image_config, with_methods

# ConCutMix's authors on iNaturalist 2018
_CONCUTMIX: dict[str, Any] = {
  'net.projection': 1024, 'terms.natural.weight': 1.0, 'terms.contrast.weight': 0.35,
  'loss_args.balanced_contrastive.temperature': 0.07, 'loss_args.rectified_la.tau': 0.99,
  'loss_args.rectified_la.share': ((0, 0.0), (0.8, 1.0)),
  'optim.lr': 0.2, 'optim.weight_decay': 1e-4, 'optim.curve': 'cosine', 'optim.warmup_epochs': 0.0,
  'augment.autoaugment': False, 'augment.randaugment': True,
  'views.contrast1.augment': ('simclr',), 'views.contrast2.augment': ('simclr',),
}  # fmt: skip
# what methods set otherwise here than on CIFAR, in their authors' settings: Cui et al., CVPR 2019
# (focal loss); Zhou et al., CVPR 2020 (the longer of their two schedules); Kang et al., ICLR 2020
OTHERWISE: dict[str, dict[str, Any]] = {
  'cb_focal': {'reweight.beta': 0.999, 'loss_args.focal_sigmoid.gamma': 0.5},
  'concutmix': _CONCUTMIX | {'loss_args.rectified_la.omega': 1628 / 255},
  'concutmix_area': _CONCUTMIX,
  'concutmix_plain': _CONCUTMIX,
  'bbn': {
    'epochs': 180, 'batch_size': 128, 'optim.lr': 0.05,
    'optim.schedule': ((0, 1.0), (0.6666, 0.1), (0.8888, 0.01)),
  },
  'crt': {'stages.classifier.epochs': 0.3},
}  # fmt: skip


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  config = image_config('inat18')
  config.epochs = 100
  config.batch_size = 256
  config.imb_factor = 500.0  # 1,000 over 2; the lists decide
  config.data.augment = ('resized_crop', 'flip')
  config.optim.weight_decay = 1e-4
  config.optim.warmup_fraction = 0.05
  config.optim.schedule = ((0, 1.0), (0.6, 0.1), (0.8, 0.01))
  # LDAM's authors, for so many classes
  config.loss_args.ldam.max_margin = config.loss_args.ride.max_margin = 0.3
  return with_methods(config, method, OTHERWISE)
