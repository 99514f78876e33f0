"""fass_jax: training image classifiers on long-tailed data, in JAX.

Import what you need: `fass_jax.score` (score matrix, target choice, mixing ratio) and
`fass_jax.mixing` (MixUp, CutMix) stand alone; `fass_jax.main` is the command line.
"""

__version__ = '0.1.0'
