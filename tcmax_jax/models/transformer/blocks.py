"""Blocks and options that all transformers share."""

import functools
from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.models.encoder import PretrainedOptions
from tcmax_jax.section import Count, Limits, SectionError, section

# The initialisation of ViT, BERT and those that follow them.
small_normal = nn.initializers.truncated_normal(0.02)
_gelu = functools.partial(jax.nn.gelu, approximate=False)


def quick_gelu(x):
    """Approximates gelu by x sigmoid(1.702 x), as CLIP does."""
    return x * jax.nn.sigmoid(1.702 * x)


class Style(NamedTuple):
    """The differences between the published architectures.

    Attributes:
      activation: that of the hidden layers.
      epsilon: what layer norms add to the variance.
      post_norm: layer norms after each residual sum in place of before each layer and at the end.
      embedding_norm: whether a layer norm follows the embedding.
      tokens: learnt tokens before the patches; the feature is the mean of their last states.
      patch_bias: whether the patch embedding has a bias.
      causal: whether tokens attend to earlier ones alone.
      token_type: whether the embedding of the first segment is added to all tokens.
      pool: the real token whose last state is the feature of a text.
    """

    activation: Callable = _gelu
    epsilon: float = 1e-12
    post_norm: bool = False
    embedding_norm: bool = False
    tokens: tuple[str, ...] = ("class_token",)
    patch_bias: bool = True
    causal: bool = False
    token_type: bool = False
    pool: str = "first"


@section
class TransformerOptions(PretrainedOptions):
    """Base of the options of transformers; `weights` are published ones, see `.weights`.

    Attributes:
      width: entries of the state of a token, and of the feature.
      depth: number of blocks.
      heads: attention heads of each block; they divide the width.
      mlp_size: hidden units of each block's dense layers; None for four times the width.
      dropout: rate of dropout in training, of the embeddings and of what each layer adds to them.
      remat: whether the backward pass computes the activations of each block again: less memory,
        about a third more time.
    """

    width: Count = 768
    depth: Count = 12
    heads: Count = 12
    mlp_size: Count | None = None
    dropout: Annotated[float, Limits(ge=0, lt=1)] = 0.0
    remat: bool = False

    @property
    def feature_size(self):
        """Number of entries of the feature."""
        return self.width

    def check(self):
        """Raises SectionError where the heads do not divide the width."""
        if self.width % self.heads:
            raise SectionError(
                f"heads has to divide width, got heads={self.heads} and width={self.width}"
            )

    def _module_options(self, dtype):
        names = ("style", "width", "depth", "heads", "mlp_size", "dropout", "remat")
        return {name: getattr(self, name) for name in names} | {"dtype": dtype}


class Attention(nn.Module):
    """Scaled dot product attention of several heads (Vaswani et al., NeurIPS 2017)."""

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, mask):
        """Maps [B, L, D] to [B, L, D]; `mask` is as in `Block`."""
        dense = functools.partial(nn.Dense, x.shape[-1], dtype=self.dtype, kernel_init=small_normal)
        query, key, value = (
            dense(name=name)(x).reshape(*x.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        # Its softmax is float32 whatever the dtype.
        y = jax.nn.dot_product_attention(query, key, value, mask=mask)
        return dense(name="out")(y.reshape(x.shape))


class FeedForward(nn.Module):
    """Two dense layers with an activation between them."""

    size: int
    activation: Callable
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """Maps [B, L, D] to [B, L, D]."""
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=small_normal)
        y = self.activation(dense(self.size, name="hidden")(x))
        return dense(x.shape[-1], name="out")(y)


class Block(nn.Module):
    """Attention and dense layers, each added to its input.

    Attributes:
      style: of which activation, epsilon and post_norm are read.
      heads: number of attention heads.
      mlp_size: hidden units of the dense layers.
      dropout: rate of dropout of what is added.
      deterministic: whether there is no dropout.
      dtype: dtype of the computation; parameters, layer norms and softmax are float32.
    """

    style: Style
    heads: int
    mlp_size: int
    dropout: float
    deterministic: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, mask):
        """Maps [B, L, D] to [B, L, D].

        Args:
          x: the states of the tokens.
          mask: [B or 1, 1, L or 1, L] bool, True where a token (third axis) attends to another
            (fourth axis); None for everywhere.
        """
        attention = Attention(self.heads, self.dtype, name="attention")
        mlp = FeedForward(self.mlp_size, self.style.activation, self.dtype, name="mlp")
        drop = nn.Dropout(self.dropout, deterministic=self.deterministic)
        norm1, norm2 = (layer_norm(self.style, name) for name in ("norm1", "norm2"))
        if self.style.post_norm:
            x = norm1(x + drop(attention(x, mask))).astype(self.dtype)
            return norm2(x + drop(mlp(x))).astype(self.dtype)
        x = x + drop(attention(norm1(x), mask))
        return x + drop(mlp(norm2(x)))


def layer_norm(style: Style, name: str) -> nn.Module:
    """Returns a layer norm in float32."""
    return nn.LayerNorm(style.epsilon, jnp.float32, use_fast_variance=False, name=name)


class Transformer(nn.Module):
    """Base of the transformer encoders.

    Attributes:
      style: whose architecture it has.
      width: entries D of the state of a token, and of the feature.
      depth: number of blocks.
      heads: attention heads of each block.
      mlp_size: hidden units of each block's dense layers; None for four times the width.
      dropout: rate of dropout in training; above 0 it reads the rng "dropout".
      remat: whether the backward pass computes the activations of each block again.
      dtype: dtype of the computation; parameters, layer norms and softmax are float32.
    """

    style: str
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_size: int | None = None
    dropout: float = 0.0
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    def encode(self, x, mask, style: Style, train: bool):
        """Maps embeddings [B, L, D] to last states [B, L, D] float32; `mask` is as in `Block`."""
        if style.embedding_norm:
            x = layer_norm(style, "embedding_norm")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x.astype(self.dtype))
        block = nn.remat(Block) if self.remat else Block
        for i in range(self.depth):
            x = block(
                style=style,
                heads=self.heads,
                mlp_size=self.mlp_size or 4 * self.width,
                dropout=self.dropout,
                deterministic=not train,
                dtype=self.dtype,
                name=f"block{i + 1}",
            )(x, mask)
        return x.astype(jnp.float32) if style.post_norm else layer_norm(style, "final_norm")(x)
