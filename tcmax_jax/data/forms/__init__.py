"""Stored forms: what is kept of an example for each modality, and how it is read from its files.

Decoding processes import these modules, so they must stay free of JAX and TensorFlow Datasets; and
training reads what is stored without a decoder, so `read` alone imports FFmpeg.
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
