"""ResNet encoders without the classifier layer, for spectrograms, frames and optical flow."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.models.convert import resnet_variables
from tcmax_jax.models.encoder import NormalizingOptions, PretrainedOptions, normalize
from tcmax_jax.models.norm import BatchNorm
from tcmax_jax.section import Count, SectionError, section

# The initialisation of the paper's code: normal with variance 2 / (kernel area x channels out).
_he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


@section
class ResNetEncoder(PretrainedOptions, NormalizingOptions):
    """A residual network without its classifier layer, see `ResNet`.

    Attributes:
      kind: the network.
      width: channels of the first stage; the feature has 8 times as many, 32 times with resnet50.
    """

    kind: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    width: Count = 64

    @property
    def feature_size(self):
        """Number of entries of the feature."""
        return (32 if self.kind == "resnet50" else 8) * self.width

    def check_input(self, shape):
        """Raises SectionError for features, and for inputs without height and width."""
        if len(shape) not in (3, 4):
            raise SectionError(
                f"{self.kind} needs pictures [height, width, channels] or clips of them, got shape "
                f"{tuple(shape)}; for features use frozen or mlp"
            )

    def make(self, dtype=jnp.float32, axis_name=None):
        """Returns the module."""
        network = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}[self.kind]
        options = {"mean": self.mean, "std": self.std, "dtype": dtype, "axis_name": axis_name}
        return network(width=self.width, **options)

    def variables(self, arrays, prefix, shape):
        """Returns the variables from arrays with torchvision's names."""
        return resnet_variables(arrays, prefix)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: relu(x + BN(conv(relu(BN(conv(x))))))."""

    channels: int
    stride: int
    conv: nn.Module
    norm: nn.Module

    @nn.compact
    def __call__(self, x):
        """Maps [N, H, W, C] to [N, H / stride, W / stride, channels]."""
        stride = (self.stride, self.stride)
        y = self.conv(self.channels, (3, 3), stride, padding=1, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.channels, (3, 3), padding=1, name="conv2")(y)
        y = self.norm(name="norm2")(y)
        if x.shape != y.shape:
            x = self.conv(self.channels, (1, 1), stride, padding=0, name="shortcut_conv")(x)
            x = self.norm(name="shortcut_norm")(x)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1 ones, the last to four times the channels.

    The 3 x 3 convolution has the stride, as in torchvision (the paper gives it to the first one).
    """

    channels: int
    stride: int
    conv: nn.Module
    norm: nn.Module

    @nn.compact
    def __call__(self, x):
        """Maps [N, H, W, C] to [N, H / stride, W / stride, 4 channels]."""
        stride = (self.stride, self.stride)
        y = self.conv(self.channels, (1, 1), padding=0, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.channels, (3, 3), stride, padding=1, name="conv2")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(4 * self.channels, (1, 1), padding=0, name="conv3")(y)
        y = self.norm(name="norm3")(y)
        if x.shape != y.shape:
            x = self.conv(4 * self.channels, (1, 1), stride, padding=0, name="shortcut_conv")(x)
            x = self.norm(name="shortcut_norm")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A residual network (He et al., CVPR 2016) up to its pooled features.

    Padding, strides and statistics follow torchvision's, so that its weights can be carried over.
    On the CPU, XLA is slow for maps smaller than the kernel: use inputs of 96 pixels and more.

    Attributes:
      stage_sizes: number of blocks in each stage; (2, 2, 2, 2) is ResNet-18.
      width: channels of the first stage, 64 in the paper; each further stage doubles them.
      mean: channel means of the input (uint8 inputs: after scaling to 0 .. 1).
      std: channel standard deviations of the input.
      dtype: dtype of the computation; parameters and batch statistics stay float32.
      axis_name: mapped axis over which batch statistics are shared; None keeps them on the device.
      block: kind of the blocks, `BasicBlock` or `Bottleneck`.
      norm: the normalisation, called with the options of flax's `BatchNorm`.
    """

    stage_sizes: Sequence[int]
    width: int = 64
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None
    block: type[nn.Module] = BasicBlock
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x, train: bool):
        """Encodes pictures or clips.

        Args:
          x: [B, H, W, C], or [B, T, H, W, C] whose frames are encoded one by one and pooled.
          train: whether batch normalisation uses (and updates) the batch's own statistics.

        Returns:
          [B, width * 2^(stages - 1)] float32, four times as many with `Bottleneck`: the mean over
          space (and time) of the last maps.

        Raises:
          ValueError: another rank.
        """
        if x.ndim not in (4, 5):
            raise ValueError(
                "Expected [batch, height, width, channels] or [batch, time, height, width, "
                f"channels], got shape {x.shape}. A spectrogram needs a channel axis of size 1."
            )
        clips = x.shape[:-3]
        x = normalize(x, self.mean, self.std, self.dtype).reshape(-1, *x.shape[-3:])
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=_he_fan_out)
        norm = functools.partial(
            self.norm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
            axis_name=self.axis_name if train else None,
        )
        x = conv(self.width, (7, 7), (2, 2), padding=3, name="stem_conv")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.stage_sizes):
            for block in range(blocks):
                x = self.block(
                    channels=self.width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x)
        x = x.astype(jnp.float32).reshape(*clips, *x.shape[1:])
        return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


resnet18 = functools.partial(ResNet, stage_sizes=(2, 2, 2, 2))
resnet34 = functools.partial(ResNet, stage_sizes=(3, 4, 6, 3))
resnet50 = functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck)
