"""The names of the open sets, for the check of a config and for --help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fass_jax.augment.chain import OPS
from fass_jax.augment.mixes import LABELS, MIXES
from fass_jax.classifiers import CLASSIFIERS
from fass_jax.data.images.decode import DECODERS
from fass_jax.data.load import DATASETS
from fass_jax.losses import LOSSES
from fass_jax.nets.base import BACKBONES, HEADS, PRECISIONS
from fass_jax.nets.convolution import CONVOLUTIONS
from fass_jax.recipe.tasks import TASKS
from fass_jax.sampling.named import KEEPS, PARTNERS, RATIOS, SAMPLERS
from fass_jax.sampling.resamplers import RESAMPLERS
from fass_jax.signals import SIGNALS

# by the name that the rows of the keys give a set, see `config.key.Key.table`
TABLES: Mapping[str, Iterable[str]] = {
  'backbones': BACKBONES,
  'classifiers': CLASSIFIERS,
  'convolutions': CONVOLUTIONS,
  'data sets': DATASETS,
  'decoders': DECODERS,
  'heads': HEADS,
  'keeps': KEEPS,
  'labels': LABELS,
  'losses': LOSSES,
  'mixes': MIXES,
  'ops': OPS,
  'partners': PARTNERS,
  'precisions': PRECISIONS,
  'ratios': RATIOS,
  'resamplers': RESAMPLERS,
  'samplers': SAMPLERS,
  'signals': SIGNALS,
  'tasks': TASKS,
}
