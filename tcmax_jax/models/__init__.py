"""Encoders, fusion heads and the classifier that joins them, in Flax Linen."""

from tcmax_jax.models.classifier import MultimodalClassifier, head_of
from tcmax_jax.models.frozen import Frozen
from tcmax_jax.models.fusion import ADDITIVE_FUSIONS, FUSIONS
from tcmax_jax.models.mlp import MLP
from tcmax_jax.models.resnet import ResNet, resnet18, resnet34, resnet50

__all__ = [
    "ADDITIVE_FUSIONS",
    "FUSIONS",
    "MLP",
    "Frozen",
    "MultimodalClassifier",
    "ResNet",
    "head_of",
    "resnet18",
    "resnet34",
    "resnet50",
]
