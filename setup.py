"""What setup.cfg cannot say: recipes are part of the package, and stay at the top of the checkout.

Everything else about the package is in setup.cfg.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["tcmax_jax*"]), "tcmax_jax.experiments"],
    package_dir={"tcmax_jax.experiments": "experiments"},
)
