"""A multilayer perceptron encoder, for small inputs and for features of frozen encoders."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.models.normalize import normalize


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
        """Maps [B, ...] to features [B, sizes[-1]] float32; `train` changes nothing."""
        del train
        x = normalize(x, self.mean, self.std, self.dtype).reshape(x.shape[0], -1)
        for size in self.sizes:
            x = nn.relu(nn.Dense(size, dtype=self.dtype)(x))
        return x.astype(jnp.float32)
