"""Input normalisation on the device: uint8 and float16 cross the bus, floats are made here."""

from collections.abc import Sequence

import jax.numpy as jnp


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
