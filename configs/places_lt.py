"""Places-LT: 62,500 images of 365 classes, 4,980 to 5 a class, a pretrained ResNet-152, 30 epochs.

    python -m fass_jax.main --config=configs/places_lt.py:fass \\
      --config.data.dir=DIR --config.data.lists=DIR --config.start.weights=FILE

`data.dir` holds Places365-Standard from the Places site, train/<class>/*.jpg and val/<class>/*.jpg;
`data.lists` holds Places_LT_{train,val,test}.txt. `start.weights` names a ResNet-152 that was
trained on ImageNet, from which the field starts on this set.

Batch 256, 30 epochs and learning rate .01 for the backbone are those of Kang et al., ICLR 2020,
weight decay 5e-4 that of Liu et al., CVPR 2019. Theirs train the last block and the head alone,
the head with .1; here all of it trains with one rate, unless `optim.only` says otherwise.
"""

from fass_jax.config import base_config, with_methods


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  config = base_config('places_lt')
  config.epochs = 30
  config.batch_size = 256
  config.imb_factor = 996.0  # 4,980 over 5; the lists decide
  config.net.backbone = 'resnet'
  config.net.depth = 152
  config.net.head = 'linear_torch'
  config.data.image_size = 224
  config.data.augment = ('resized_crop', 'flip', 'jitter')
  config.data.mean = (0.485, 0.456, 0.406)
  config.data.std = (0.229, 0.224, 0.225)
  config.optim.lr = 0.01
  config.optim.weight_decay = 5e-4
  config.optim.curve = 'cosine'
  config.loss_args.diversity = -0.2
  config.loss_args.diversity_factor = 0.02
  config.eval.batch_size = 256
  config.eval.shots = 'auto'
  return with_methods(config, method)
