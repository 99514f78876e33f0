"""What a recipe is made of, a line a slot, for people to read before they trust a run."""

from __future__ import annotations

import jax
import numpy as np
from ml_collections import ConfigDict

from fass_jax.config.check import check
from fass_jax.data.load import load
from fass_jax.recipe import classifier
from fass_jax.recipe.build import Recipe, build
from fass_jax.recipe.tables import TABLES
from fass_jax.types import Dataset


def count_parameters(recipe: Recipe, data: Dataset) -> int:
  """Returns how many numbers the network learns."""
  shape = data.image_shape
  params = jax.eval_shape(lambda k: recipe.net.init(k, shape), jax.random.key(0))['params']
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def describe(recipe: Recipe, data: Dataset) -> str:
  """Returns the resolved recipe, a line for each filled slot.

  Args:
    recipe: what `recipe.build` made, with its lines.
    data: the data set.
  """
  devices = recipe.where.rows
  more = {
    'network': f': {count_parameters(recipe, data)} parameters',
    'engine': '' if devices is None else f', batches over {devices.num_devices} devices',
  }
  width = max(len(name) for name, _ in recipe.lines)
  return '\n'.join(f'  {name:{width}}  {text}{more.get(name, "")}' for name, text in recipe.lines)


def resolve(config: ConfigDict) -> str:
  """Returns the same for a config whose data have not been loaded yet.

  Raises:
    UserError: for everything that would stop a run before its first step.
  """
  check(config, TABLES)
  data = load(config)
  recipe = build(config, data)
  classifier.chosen(config, data)
  return describe(recipe, data)
