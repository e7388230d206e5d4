"""The configuration of a run, made of sections that are defined beside what they configure.

An experiment is a file with a function `config()` that returns a `Config`. `recipes` holds what the
recipes of the paper share; `overrides` reads such files and changes single fields.
"""

from tcmax_jax.training.config.comparison import Comparison, Study
from tcmax_jax.training.config.run import Config, Modality, Model, Training

__all__ = ["Comparison", "Config", "Modality", "Model", "Study", "Training"]
