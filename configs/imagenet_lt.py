"""ImageNet-LT: 115,846 images of 1,000 classes, 1,280 to 5 a class, ResNet-50, 100 epochs.

    python -m fass_jax.main --config=configs/imagenet_lt.py:fass \\
      --config.data.dir=DIR --config.data.lists=DIR

`data.dir` holds the images of ILSVRC 2012, which everybody fetches with an account of their own
from the ImageNet site: ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, or the folders train/
and val/ unpacked from them. The archives are prepared once in the cache, about 20 GB;
`--config.data.shrink=256` makes that about 7. `data.lists` holds ImageNet_LT_{train,val,test}.txt;
what is missing is downloaded. `--config.data.split=val` evaluates on the val list.

The recipe is the one that CMO (Park et al., CVPR 2022), CUDA (Ahn et al., ICLR 2023) and RIDE (Wang
et al., ICLR 2021) share: batch 256, 100 epochs, learning rate .1, a tenth of it after 60 and a
hundredth after 80, weight decay 2e-4, warm-up of 5 epochs, class weights from epoch 80.
"""

from typing import Any

from fass_jax.config import image_config, with_methods

# ConCutMix's authors on ImageNet-LT, 100 epochs of ResNet-50; with ResNeXt-50 they correct the
# labels after 60 of 90 and after 120 of 180 epochs
_CONCUTMIX: dict[str, Any] = {
  'net.projection': 1024, 'terms.natural.weight': 1.0, 'terms.contrast.weight': 0.35,
  'loss_args.balanced_contrastive.temperature': 0.07, 'loss_args.rectified_la.tau': 0.99,
  'loss_args.rectified_la.share': ((0, 0.0), (0.7, 1.0)),
  'optim.lr': 0.1, 'optim.curve': 'cosine', 'optim.warmup_epochs': 0.0,
  'augment.autoaugment': False, 'augment.randaugment': True,
  'views.contrast1.augment': ('simclr',), 'views.contrast2.augment': ('simclr',),
}  # fmt: skip
# What methods set otherwise on ImageNet than on CIFAR, after their authors. `bcl` keeps the steps
# of 100 epochs that all rows here have; its authors train 90 epochs, cosine, without a warm-up.
OTHERWISE: dict[str, dict[str, Any]] = {
  'ride': {'optim.weight_decay': 2e-4, 'augment.rotation15': False},
  'distill': {'optim.warmup_epochs': 5.0, 'optim.warmup_fraction': 0.05},
  'cuda': {'signals.levels.accept': 0.4},
  'cuda_plain': {'signals.levels.accept': 0.4},
  'bcl': {
    'net.projection': 1024, 'terms.natural.weight': 1.0, 'terms.contrast.weight': 0.35,
    'loss_args.balanced_contrastive.temperature': 0.07,
  },
  'concutmix': _CONCUTMIX | {'loss_args.rectified_la.omega': 200 / 255},
  'concutmix_area': _CONCUTMIX,
  'concutmix_plain': _CONCUTMIX,
  'cb_focal': {'reweight.beta': 0.999, 'loss_args.focal_sigmoid.gamma': 0.5},
  # no settings of its authors: the steps of all others
  'bbn': {'optim.schedule': ((0, 1.0), (0.6, 0.1), (0.8, 0.01))},
}  # fmt: skip


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  config = image_config('imagenet_lt')
  config.epochs = 100
  config.batch_size = 256
  config.imb_factor = 256.0  # 1,280 over 5; the lists decide
  config.optim.warmup_fraction = 0.05
  config.optim.schedule = ((0, 1.0), (0.6, 0.1), (0.8, 0.01))
  return with_methods(config, method, OTHERWISE)
