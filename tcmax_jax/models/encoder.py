"""The interface of an encoder, and the normalisation of its input on the device."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tcmax_jax.models.convert import read_arrays
from tcmax_jax.section import Family, FilePath, Positive, section


@section
class EncoderOptions(Family):
    """Base of the options of encoders, and their interface."""

    @property
    def feature_size(self) -> int | None:
        """Number D of entries of the feature; None if unknown until it is made."""
        return None

    def check_input(self, shape: Sequence[int | None]) -> None:
        """Checks that the encoder accepts inputs of a shape.

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

    def initial(self, variables, modality: str, shape: Sequence[int]) -> dict:
        """Returns the initial variables.

        Args:
          variables: {"params": .., "batch_stats": ..}, drawn at random.
          modality: name of the modality.
          shape: that of one example of the input.

        Raises:
          ValueError: weights of another network.
        """
        return variables


@section
class PretrainedOptions(EncoderOptions):
    """Base of the options of encoders that can start from a file of weights.

    Attributes:
      weights: file of weights to start from, see `tcmax_jax.models.convert.read_arrays`; None
        starts anew.
      weights_prefix: what their names begin with; None takes "<modality>_net." if there are such
        names, as in checkpoints of the PyTorch TCMax code, and otherwise all.
    """

    weights: FilePath | None = None
    weights_prefix: str | None = None

    def variables(self, arrays, prefix: str, shape: Sequence[int]) -> dict:
        """Returns the variables of the module from the arrays of a file.

        Args:
          arrays: {name: array}, as `tcmax_jax.models.convert.read_arrays` returns.
          prefix: what the names begin with; those without it are left out.
          shape: that of one example of the input.

        Returns:
          {"params": .., "batch_stats": ..}.

        Raises:
          ValueError: weights of another network.
        """
        raise NotImplementedError

    def initial(self, variables, modality, shape):
        """Returns the variables of the file or, without one, random ones."""
        if self.weights is None:
            return variables
        arrays, prefix = read_arrays(self.weights), self.weights_prefix
        if prefix is None:
            torch = f"{modality}_net."
            prefix = torch if any(name.startswith(torch) for name in arrays) else ""
        loaded = self.variables(arrays, prefix, shape)
        for name in variables.keys() | loaded.keys():
            _check_shapes(modality, self.weights, variables.get(name, {}), loaded.get(name, {}))
        return loaded


@section
class NormalizingOptions(EncoderOptions):
    """Base of the options of encoders that normalise their input.

    Attributes:
      mean: channel means of the input (pictures: in 0 .. 1), or one number for all channels.
      std: the same for the standard deviations.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[Positive, ...] = (1.0,)


def _check_shapes(modality, path, expected, got):
    shapes, given = (
        {jax.tree_util.keystr(k): np.shape(x) for k, x in jax.tree.leaves_with_path(tree)}
        for tree in (expected, got)
    )
    for name in shapes | given:
        if shapes.get(name) != given.get(name):
            raise ValueError(
                f"Expected weights of the encoder of {modality}, got in {path} the shape "
                f"{given.get(name, 'none')} at {name} in place of {shapes.get(name, 'none')}. "
                "Kind, width and channels of the encoder have to be those of the weights."
            )


def pooled(output):
    """Returns features [B, D] float32 from an encoder's result: features, or those of each step.

    Args:
      output: [B, D]; or [B, T, D], whose mean over T is taken; or ([B, T, D], mask [B, T] bool),
        whose mean over the steps in the mask is taken, zero where there are none.
    """
    values, mask = output if isinstance(output, tuple) else (output, None)
    values = values.astype(jnp.float32)
    if mask is not None:
        total = jnp.sum(jnp.where(mask[..., None], values, 0), axis=1)
        return total / jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.float32), 1)[:, None]
    return jnp.mean(values, axis=1) if values.ndim == 3 else values


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
