"""Temporal convolutions, for series of sensor values, poses or audio frames."""

from typing import Annotated, Literal

import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.models.encoder import EncoderOptions, pooled
from tcmax_jax.section import Count, Fraction, Limits, SectionError, section
from tcmax_jax.series import Series


@section
class TemporalEncoder(EncoderOptions):
    """Residual convolutions over time, then the mean over valid steps, see `Temporal`.

    Attributes:
      width: channels of every layer, and entries of the feature.
      depth: number of residual blocks; each sees twice as far as the one before.
      kernel: steps that a convolution sees, an odd number.
      dropout: share of channels that training sets to zero in each block.
    """

    kind: Literal["temporal"] = "temporal"
    width: Count = 64
    depth: Count = 3
    kernel: Annotated[int, Limits(ge=1)] = 5
    dropout: Fraction = 0.0

    @property
    def feature_size(self):
        """Number of entries of the feature."""
        return self.width

    def check(self):
        """Raises SectionError for an even kernel, which has no centre."""
        if self.kernel % 2 == 0:
            raise SectionError(f"Expected an odd kernel, got {self.kernel}. Add or take 1.")

    def check_input(self, shape):
        """Raises SectionError for inputs without steps."""
        if not shape:
            raise SectionError(
                f"temporal needs series [steps, ...], got shape {tuple(shape)}. Use mlp."
            )

    def make(self, dtype=jnp.float32, axis_name=None):
        """Returns the module."""
        return Temporal(self.width, self.depth, self.kernel, self.dropout, dtype)


class Temporal(nn.Module):
    """Maps series to features by convolutions over time.

    With x_0 a dense layer on each step, block k = 0 .. depth - 1 adds

      x_{k+1} = x_k + dense(dropout(gelu(conv(norm(x_k))))),

    conv being a convolution over time whose taps lie 2^k steps apart, and norm a layer norm of each
    step. What fills up a series is zero before each convolution, so that a feature does not depend
    on it. The feature is the mean of norm(x_depth) over the true steps.

    Attributes:
      width: channels of every layer, and entries D of the feature.
      depth: number of blocks.
      kernel: taps of a convolution, an odd number.
      dropout: share of channels that training sets to zero.
      dtype: dtype of the computation; parameters, norms and the mean are float32.
    """

    width: int = 64
    depth: int = 3
    kernel: int = 5
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool):
        """Maps series to features.

        Args:
          x: a `Series` of values [B, T, ...], or values alone, all of whose steps are true.
          train: whether there is dropout, from the stream "dropout".

        Returns:
          [B, D] float32; zero for a series without steps.
        """
        values, mask = x if isinstance(x, Series) else (x, jnp.ones(x.shape[:2], bool))
        values = values.astype(self.dtype).reshape(*mask.shape, -1)
        seen = mask[..., None]
        x = nn.Dense(self.width, dtype=self.dtype, name="embed")(values)
        for k in range(self.depth):
            y = jnp.where(seen, self._norm(f"norm{k}", x), 0)
            y = nn.Conv(
                self.width,
                (self.kernel,),
                kernel_dilation=2**k,
                padding="SAME",
                dtype=self.dtype,
                name=f"conv{k}",
            )(y)
            y = nn.Dropout(self.dropout, deterministic=not train)(nn.gelu(y))
            x = x + nn.Dense(self.width, dtype=self.dtype, name=f"dense{k}")(y)
        return pooled((self._norm("norm", x).astype(jnp.float32), mask))

    def _norm(self, name, x):
        return nn.LayerNorm(dtype=self.dtype, use_fast_variance=False, name=name)(x)
