"""Which images a stream draws, and which partners they are mixed with.

Samplers are pure functions of a PRNG key and a class index (`index_classes`).
"""

from fass_jax.sampling.samplers import (
  draw_by_weight,
  draw_from_classes,
  draw_groups,
  index_classes,
  permutation_plan,
  power_weight,
  progressive_weight,
  rebalanced_weight,
)

__all__ = [
  'draw_by_weight',
  'draw_from_classes',
  'draw_groups',
  'index_classes',
  'permutation_plan',
  'power_weight',
  'progressive_weight',
  'rebalanced_weight',
]
