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

from typing import Any

from fass_jax.config import image_config, with_methods

# of 30 epochs cRT has 10 more and LWS 5, as on the other sets (Kang et al., ICLR 2020)
OTHERWISE: dict[str, dict[str, Any]] = {
  'crt': {'stages.classifier.epochs': 0.3333},
  'lws': {'stages.classifier.epochs': 0.1666},
}


def get_config(method='fass'):
  """Returns the config; `method` is what stands after the colon."""
  config = image_config('places_lt')
  config.epochs = 30
  config.batch_size = 256
  config.imb_factor = 996.0  # 4,980 over 5; the lists decide
  config.net.depth = 152
  config.optim.lr = 0.01
  config.optim.weight_decay = 5e-4
  config.optim.curve = 'cosine'
  return with_methods(config, method, OTHERWISE)
