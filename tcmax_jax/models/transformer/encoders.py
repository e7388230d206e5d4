"""Transformer encoders of pictures, clips, spectrograms and texts, without their heads."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.models.encoder import NormalizingOptions, normalize, pooled
from tcmax_jax.models.transformer.blocks import (
    Style,
    Transformer,
    TransformerOptions,
    quick_gelu,
    small_normal,
)
from tcmax_jax.models.transformer.weights import text_params, vision_params
from tcmax_jax.section import Count, SectionError, section
from tcmax_jax.series import Series

_AST_BANDS = 128  # mel frequencies of the spectrograms that AST was trained with

_CLIP = Style(activation=quick_gelu, epsilon=1e-5)
_DEIT = Style(tokens=("class_token", "distillation_token"))
_VISION = {
    "vit": Style(),
    "deit": _DEIT,
    "clip": _CLIP._replace(embedding_norm=True, patch_bias=False),
    "ast": _DEIT,
}
_TEXT = {
    "bert": Style(post_norm=True, embedding_norm=True, token_type=True),
    "clip": _CLIP._replace(causal=True, pool="last"),
}


@section
class VisionTransformerEncoder(TransformerOptions, NormalizingOptions):
    """A transformer of pictures, clips or spectrograms, see `VisionTransformer`.

    Attributes:
      style: whose architecture it has: ViT, DeiT with distillation, CLIP's for pictures, or AST for
        spectrograms. DeiT without distillation is the same as ViT.
      patch: height and width of a patch.
      stride: distance of patches; None for patches side by side, and for 10 with style ast.
      weights_grid: rows and columns of patches that the weights were trained with, from which their
        positions are interpolated; None for a square, and for 128 frequencies with style ast.
    """

    kind: Literal["vit"] = "vit"
    style: Literal["vit", "deit", "clip", "ast"] = "vit"
    patch: Count = 16
    stride: Count | None = None
    weights_grid: tuple[Count, Count] | None = None

    def check_input(self, shape):
        """Raises SectionError for features, and for pictures smaller than a patch."""
        if len(shape) not in (3, 4):
            raise SectionError(
                f"{self.kind} needs pictures [height, width, channels], clips of them or "
                f"spectrograms [frequency, time, 1], got shape {tuple(shape)}; for features use "
                "frozen or mlp"
            )
        if any(size is not None and size < self.patch for size in shape[-3:-1]):
            raise SectionError(
                f"{self.kind} needs at least patch={self.patch} pixels in height and width, got "
                f"shape {tuple(shape)}; lower patch, or take larger pictures"
            )

    def make(self, dtype=jnp.float32, axis_name=None):
        """Returns the module."""
        return VisionTransformer(
            patch=self.patch,
            stride=self._stride,
            mean=self.mean,
            std=self.std,
            **self._module_options(dtype),
        )

    def variables(self, arrays, prefix, shape):
        """Returns the variables of the module, with positions interpolated where needed."""
        rows, columns = map(self._patches, shape[-3:-1])
        trained = self.weights_grid
        if trained is None and self.style == "ast":
            trained = self._patches(_AST_BANDS), None
        params = vision_params(arrays, self.style, self.depth, (rows, columns), prefix, trained)
        return {"params": params, "batch_stats": {}}

    @property
    def _stride(self):
        return self.stride or (10 if self.style == "ast" else self.patch)

    def _patches(self, size):
        return (size - self.patch) // self._stride + 1


@section
class TextTransformerEncoder(TransformerOptions):
    """A transformer of token ids, see `TextTransformer`.

    Attributes:
      style: whose architecture it has: BERT, or CLIP's for text.
      vocabulary_size: number of token ids.
      max_length: the most tokens of a text; the published models have 512 (BERT) or 77 (CLIP).
      pool: whose last state is the feature: the first token, the last real one, or the mean over
        all real ones; None for the first with style bert and the last with style clip.
    """

    kind: Literal["text"] = "text"
    style: Literal["bert", "clip"] = "bert"
    vocabulary_size: Count = 30522
    max_length: Count = 512
    pool: Literal["first", "last", "mean"] | None = None

    def check_input(self, shape):
        """Raises SectionError for inputs other than sequences of at most `max_length` token ids."""
        if len(shape) != 1:
            raise SectionError(f"{self.kind} needs token ids [length], got shape {tuple(shape)}")
        if shape[0] is not None and shape[0] > self.max_length:
            raise SectionError(
                f"{self.kind} needs texts of at most max_length={self.max_length} tokens, got "
                f"{shape[0]}; cut them, or raise max_length"
            )

    def make(self, dtype=jnp.float32, axis_name=None):
        """Returns the module."""
        return TextTransformer(
            vocabulary_size=self.vocabulary_size,
            max_length=self.max_length,
            pool=self.pool,
            **self._module_options(dtype),
        )

    def variables(self, arrays, prefix, shape):
        """Returns the variables of the module, without positions beyond `max_length`."""
        del shape
        params = text_params(arrays, self.style, self.depth, self.max_length, prefix)
        return {"params": params, "batch_stats": {}}


class VisionTransformer(Transformer):
    """A transformer on patches of pictures or spectrograms.

    Styles are ViT (Dosovitskiy et al., ICLR 2021), DeiT with distillation (Touvron et al., ICML
    2021), CLIP's for pictures (Radford et al., ICML 2021) and AST (Gong et al., Interspeech 2021).
    The feature is the last state of the class token; DeiT and AST have a distillation token too,
    and the feature is the mean of both. Each position has an embedding, so that parameters belong
    to one number of patches.

    Attributes:
      style: "vit", "deit", "clip" or "ast".
      patch: height and width of a patch; what no patch reaches at the right and bottom is cut off.
      stride: distance of patches.
      mean: channel means of the input (uint8 inputs: after scaling to 0 .. 1).
      std: channel standard deviations of the input.
    """

    style: str = "vit"
    patch: int = 16
    stride: int = 16
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)

    @nn.compact
    def __call__(self, x, train: bool):
        """Encodes pictures, clips or spectrograms.

        Args:
          x: [B, H, W, C], [B, T, H, W, C] whose frames are encoded one by one and averaged, or
            spectrograms [B, F, T, 1].
          train: whether there is dropout.

        Returns:
          [B, D] float32.

        Raises:
          ValueError: another rank, or less than a patch.
        """
        if x.ndim not in (4, 5) or min(x.shape[-3:-1]) < self.patch:
            raise ValueError(
                "Expected [batch, height, width, channels] or [batch, time, height, width, "
                f"channels] with height and width of at least patch={self.patch}, got shape "
                f"{x.shape}. A spectrogram needs a channel axis of size 1; small pictures need a "
                "smaller patch."
            )
        style = _VISION[self.style]
        clips = x.shape[:-3]
        x = normalize(x, self.mean, self.std, self.dtype).reshape(-1, *x.shape[-3:])
        x = nn.Conv(
            self.width,
            (self.patch, self.patch),
            (self.stride, self.stride),
            padding="VALID",
            use_bias=style.patch_bias,
            dtype=self.dtype,
            kernel_init=small_normal,
            name="patches",
        )(x)
        # Row by row: with AST all times of the lowest frequencies come first, as in its weights.
        x = x.reshape(x.shape[0], -1, self.width)
        tokens = jnp.stack([self.param(name, small_normal, (self.width,)) for name in style.tokens])
        tokens = jnp.broadcast_to(tokens.astype(self.dtype), (x.shape[0], *tokens.shape))
        x = jnp.concatenate([tokens, x], axis=1)
        x = x + self.param("positions", small_normal, x.shape[1:]).astype(self.dtype)
        x = self.encode(x, None, style, train)
        features = jnp.mean(x[:, : len(style.tokens)], axis=1).reshape(*clips, -1)
        return jnp.mean(features, axis=tuple(range(1, len(clips))))


class TextTransformer(Transformer):
    """A transformer on token ids.

    Styles are BERT (Devlin et al., NAACL 2019) without its pooling layer, and CLIP's for text
    (Radford et al., ICML 2021) without its projection.

    Attributes:
      style: "bert" or "clip".
      vocabulary_size: number of token ids.
      max_length: the most tokens of a text.
      pool: "first", "last" or "mean", as in `TextTransformerEncoder`; None for that of the style.
    """

    style: str = "bert"
    vocabulary_size: int = 30522
    max_length: int = 512
    pool: str | None = None

    @nn.compact
    def __call__(self, x, train: bool):
        """Encodes texts.

        Args:
          x: a `Series` of token ids [B, L], each less than `vocabulary_size`, and their mask; or
            the ids alone, all of them real.
          train: whether there is dropout.

        Returns:
          [B, D] float32, on which padding has no influence; a row without real tokens is finite.

        Raises:
          ValueError: no integers, another rank, or more than `max_length` tokens.
        """
        ids, mask = x if isinstance(x, Series) else (x, jnp.ones(x.shape, bool))
        length = ids.shape[-1]
        if ids.ndim != 2 or not jnp.issubdtype(ids.dtype, jnp.integer) or length > self.max_length:
            raise ValueError(
                f"Expected integer token ids [batch, length <= {self.max_length}], got shape "
                f"{ids.shape} of {ids.dtype}. Cut longer texts, or raise max_length."
            )
        style = _TEXT[self.style]
        # Ids of padding may lie outside the vocabulary; their NaN would reach all tokens.
        ids = jnp.where(mask, ids, 0)
        x = nn.Embed(
            self.vocabulary_size, self.width, self.dtype, embedding_init=small_normal, name="words"
        )(ids)
        positions = self.param("positions", small_normal, (self.max_length, self.width))
        x = x + positions[:length].astype(self.dtype)
        if style.token_type:
            x = x + self.param("token_type", small_normal, (self.width,)).astype(self.dtype)
        attended = mask[:, None, None, :]
        if style.causal:
            attended = attended & jnp.tril(jnp.ones((length, length), bool))
        x = self.encode(x, attended, style, train)
        return _pooled(x, mask, self.pool or style.pool)


def _pooled(x, mask, pool):
    """Returns [B, D] from token states [B, L, D]; `mask` [B, L] is False for padding."""
    if pool == "first":
        return x[:, 0]
    if pool == "mean":
        return pooled((x, mask))
    last = jnp.maximum(jnp.sum(mask, axis=1) - 1, 0)
    return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
