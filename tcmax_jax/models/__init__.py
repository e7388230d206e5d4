"""Encoders, fusion heads and the classifier that joins them, in Flax Linen."""

from tcmax_jax.models.classifier import MultimodalClassifier, head_of
from tcmax_jax.models.encoder import EncoderOptions
from tcmax_jax.models.fusion import HeadOptions
from tcmax_jax.models.mlp import MLP, Frozen, FrozenEncoder, MLPEncoder
from tcmax_jax.models.resnet import ResNet, ResNetEncoder, resnet18, resnet34, resnet50
