"""Encoders, prediction heads and the classifier that combines them, in Flax Linen."""

from tcmax_jax.models.classifier import MultimodalClassifier, head_of
from tcmax_jax.models.encoder import EncoderOptions, PretrainedOptions
from tcmax_jax.models.fusion import HeadOptions
from tcmax_jax.models.mlp import MLP, Frozen, FrozenEncoder, MLPEncoder
from tcmax_jax.models.module import FromNNX, encoder_of
from tcmax_jax.models.resnet import ResNet, ResNetEncoder, resnet18, resnet34, resnet50
from tcmax_jax.models.temporal import Temporal, TemporalEncoder
from tcmax_jax.models.transformer import (
    TextTransformer,
    TextTransformerEncoder,
    VisionTransformer,
    VisionTransformerEncoder,
)
