"""Which packages the wheel holds; all else stands in pyproject.toml."""

from setuptools import find_packages, setup

# configs/ lies beside the package in a checkout and inside it in a wheel. It is mapped by hand:
# found, it would install as a top-level `configs`
CONFIGS = {'fass_jax.configs': 'configs', 'fass_jax.configs.methods': 'configs/methods'}

setup(packages=[*find_packages(include=['fass_jax', 'fass_jax.*']), *CONFIGS], package_dir=CONFIGS)
