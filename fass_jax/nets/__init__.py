"""Networks; the only folder that imports flax.linen. `build` is the door."""

from fass_jax.nets.base import Network, build

__all__ = ['Network', 'build']
