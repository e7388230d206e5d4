"""Transformers for pictures, spectrograms and texts, and their published weights."""

from tcmax_jax.models.transformer.encoders import (
    TextTransformer,
    TextTransformerEncoder,
    VisionTransformer,
    VisionTransformerEncoder,
)

__all__ = [
    "TextTransformer",
    "TextTransformerEncoder",
    "VisionTransformer",
    "VisionTransformerEncoder",
]
