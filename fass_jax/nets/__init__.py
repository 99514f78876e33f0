"""Networks, built by `build`; the only folder that imports flax.linen."""

from fass_jax.nets.activation import class_activation
from fass_jax.nets.base import Network, build
from fass_jax.nets.norm import fold_statistics

__all__ = ['Network', 'build', 'class_activation', 'fold_statistics']
