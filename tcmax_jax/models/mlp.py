"""Encoders of small inputs and features: dense layers, or the identity."""

from collections.abc import Sequence
from typing import Annotated, Literal

import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.models.encoder import EncoderOptions, NormalizingOptions, normalize
from tcmax_jax.section import Count, Limits, SectionError, section
from tcmax_jax.series import Series


@section
class MLPEncoder(NormalizingOptions):
    """Dense layers on the flattened input, see `MLP`.

    Attributes:
      sizes: units of each layer, the last one being the feature.
    """

    kind: Literal["mlp"] = "mlp"
    sizes: Annotated[tuple[Count, ...], Limits(min_length=1)] = (128, 128, 64)

    @property
    def feature_size(self):
        """Number of entries of the feature."""
        return self.sizes[-1]

    def make(self, dtype=jnp.float32, axis_name=None):
        """Returns the module."""
        return MLP(self.sizes, self.mean, self.std, dtype)


@section
class FrozenEncoder(EncoderOptions):
    """No encoder: stored features go to the head unchanged, and only heads are trained.

    Attributes:
      size: entries of the feature.
    """

    kind: Literal["frozen"] = "frozen"
    size: Count

    @property
    def feature_size(self):
        """Number of entries of the feature."""
        return self.size

    def check_input(self, shape):
        """Raises SectionError for anything but features of that size."""
        if tuple(shape) != (self.size,):
            raise SectionError(f"frozen needs features of size={self.size} entries, got {shape}")

    def make(self, dtype=jnp.float32, axis_name=None):
        """Returns the module."""
        return Frozen()


class MLP(nn.Module):
    """Flattens the input and applies dense layers with relu after each, the last one included.

    Attributes:
      sizes: units of each layer; the last one is the size of the feature.
      mean: channel means of the input (uint8 inputs: after scaling to 0 .. 1).
      std: channel standard deviations of the input.
      dtype: dtype of the computation; parameters stay float32.
    """

    sizes: Sequence[int]
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool):
        """Maps [B, ...] or a `Series` to [B, sizes[-1]] float32; `train` changes nothing."""
        del train
        x = x.values if isinstance(x, Series) else x
        x = normalize(x, self.mean, self.std, self.dtype).reshape(x.shape[0], -1)
        for size in self.sizes:
            x = nn.relu(nn.Dense(size, dtype=self.dtype)(x))
        return x.astype(jnp.float32)


class Frozen(nn.Module):
    """Returns features unchanged."""

    @nn.compact
    def __call__(self, x, train: bool):
        """Maps [B, D] to itself in float32; `train` changes nothing."""
        del train
        return x.astype(jnp.float32)
