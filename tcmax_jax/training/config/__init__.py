"""The configuration: frozen, validated, and the one place that holds defaults.

An experiment is a file with a function `config()` that returns a `Config`, made of the sections
below. `data` and `method` hold the sections of each kind of data and each method, `recipes` what
recipes share; `overrides` reads such files and changes single fields.
"""

from tcmax_jax.training.config.comparison import Comparison, Study
from tcmax_jax.training.config.modality import (
    Features,
    Flow,
    Frames,
    FrozenEncoder,
    MLPEncoder,
    Modality,
    ResNetEncoder,
    Spectrogram,
)
from tcmax_jax.training.config.run import Config, Model, Optimizer, Training

__all__ = [
    "Comparison",
    "Config",
    "Features",
    "Flow",
    "Frames",
    "FrozenEncoder",
    "MLPEncoder",
    "Modality",
    "Model",
    "Optimizer",
    "ResNetEncoder",
    "Spectrogram",
    "Study",
    "Training",
]
