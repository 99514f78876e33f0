"""The training examples that a seed has of its own: features of its network, resampled rows."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from fass_jax.engine import devices
from fass_jax.engine.views import Store, site
from fass_jax.recipe.build import Recipe
from fass_jax.run.session import SeedRun, Session, log
from fass_jax.sampling.resamplers import resample
from fass_jax.sampling.samplers import index_classes
from fass_jax.types import Array, Dataset, Outputs, TrainState


def with_examples(s: Session, seed_run: SeedRun) -> SeedRun:
  """Returns a seed with its own training examples, if the run trains on other than its data.

  They are a function of the frozen part of the network and of the seed, so a resumed run has the
  same ones.
  """
  training, state = s.recipe.training, seed_run.state
  if not training.is_own:
    return seed_run
  x = s.store.images if training.features is None else features(s, state)
  assert not isinstance(x, tuple) and x is not None, 'only rows are resampled'
  return seed_run._replace(examples=own_store(s.recipe, s.data, x, state.key))


def own_store(recipe: Recipe, data: Dataset, x: Array, key: Array) -> Store:
  """Returns the training examples of one seed.

  Args:
    recipe: with what the run trains on.
    data: the data set.
    x: float `[N, ...]`, a row per training example of the data set.
    key: the run's key.

  Raises:
    UserError: for a class that cannot be filled.
  """
  training, labels, there = recipe.training, np.asarray(data.train_labels, np.int32), None
  if training.resampler:
    made = resample(
      training.resampler,
      site(key, 'resample'),
      x,
      labels,
      training.k,
      training.m,
      names=data.class_names,
      space=recipe.step_input,  # the numbers of a table have units: distances are standardised
    )
    x, labels, there = made.rows.astype(x.dtype), made.labels, np.asarray(made.there)
    new = int(there.sum()) - len(data.train_labels)
    log.info('%s: %d new rows, %d in all.', training.resampler, new, there.sum())
  classes = index_classes(labels, recipe.num_classes, data.neighbours, there)
  images, labels, classes, there = devices.copy((x, labels, classes, there), recipe.where)
  return Store(images, labels, classes, there=there)


def features(s: Session, state: TrainState) -> Array:
  """Returns what the head reads of each training image in evaluation mode, `[N, ...]`."""
  like = s.recipe.training.features
  assert like is not None, 'the recipe trains on no features'
  now = {'params': state.params, 'batch_stats': state.batch_stats}
  empty = jnp.zeros((len(s.data.train_labels), *like.shape[1:]), like.dtype)
  return s.test_fold(_collect, (empty, jnp.zeros((), jnp.int32)), now, *s.train)[0]


def _collect(acc: tuple[Array, Array], outs: Outputs, labels: Array, mask: Array) -> Any:
  rows, start = acc
  # padding rows get a position beyond the end, where the update is dropped
  place = jnp.where(mask, start + jnp.arange(len(mask)), len(rows))
  return rows.at[place].set(outs.features, mode='drop'), start + len(mask)
