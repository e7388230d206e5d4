"""Sources: the data sets that a configuration can name, one a file; all files here are imported."""

import importlib
import pkgutil

from tcmax_jax.data.sources.base import ClipsSource, Source
from tcmax_jax.data.sources.raw import RawSource

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["ClipsSource", "RawSource", "Source"]
