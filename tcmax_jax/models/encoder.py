"""What an encoder is, and how its input is normalised on the device."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.section import Family, Positive, section


@section
class EncoderOptions(Family):
    """Base of the options of encoders: what each of them says, and makes."""

    @property
    def feature_size(self) -> int:
        """Number D of entries of the feature."""
        raise NotImplementedError

    def check_input(self, shape: Sequence[int | None]) -> None:
        """Checks that the encoder reads inputs of a shape.

        Args:
          shape: that of one example; None where a size is not known yet.

        Raises:
          SectionError: it does not.
        """

    def make(self, dtype=jnp.float32, axis_name: str | None = None) -> nn.Module:
        """Returns a module (x, train) -> [B, D] float32, whose rows are independent in evaluation.

        Args:
          dtype: dtype of its computation; parameters stay float32.
          axis_name: mapped axis over which batch statistics are shared; None for none.
        """
        raise NotImplementedError


@section
class NormalizingOptions(EncoderOptions):
    """Base of the options of encoders that normalise their input.

    Attributes:
      mean: channel means of the input (pictures: in 0 .. 1), or one number for all channels.
      std: the same for the standard deviations.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[Positive, ...] = (1.0,)


def normalize(x, mean: Sequence[float], std: Sequence[float], dtype=jnp.float32):
    """Returns (x - mean) / std by channel, with integers first scaled from 0 .. 255 to 0 .. 1.

    Args:
      x: [..., channels], or any shape if `mean` and `std` have one entry; uint8 or floating point.
      mean: one number, or one for each channel, in the scale of the result of the first step.
      std: the same for the standard deviation.
      dtype: dtype of the result; the arithmetic is float32.

    Raises:
      ValueError: more than one statistic, but not one for each channel.
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, x.shape[-1]):
            raise ValueError(
                f"Expected 1 or {x.shape[-1]} numbers as {name} for inputs of shape {x.shape} "
                f"(channels last), got {len(values)}."
            )
    scale = 255.0 if jnp.issubdtype(x.dtype, jnp.integer) else 1.0
    x = x.astype(jnp.float32) / scale
    x = (x - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)
    return x.astype(dtype)
