"""Stored forms: what is stored of an example for each modality, and how it is read from its files.

Worker processes import these modules, so they must not import JAX or TensorFlow Datasets. Training
needs no decoder, so only `read` imports FFmpeg.
"""

from tcmax_jax.data.forms.arrays import ArrayForm, Arrays, Features
from tcmax_jax.data.forms.base import Content, Form
from tcmax_jax.data.forms.media import FilterBank, Flow, Frames, LogSpectrogram, PictureForm

__all__ = [
    "ArrayForm",
    "Arrays",
    "Content",
    "Features",
    "FilterBank",
    "Flow",
    "Form",
    "Frames",
    "LogSpectrogram",
    "PictureForm",
]
