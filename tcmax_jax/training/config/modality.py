"""Sections of a modality: how it is read, and how it is encoded."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tcmax_jax.training.config.data import FilePath
from tcmax_jax.training.config.section import Fraction, section


@section
class Spectrogram:
    """A stored spectrogram [F, T] becomes [F, steps, 1].

    Attributes:
      kind: names this section among the inputs.
      steps: length in time, cropped at random in training and at the centre in evaluation; None
        keeps all that is stored.
    """

    kind: Literal["spectrogram"] = "spectrogram"
    steps: PositiveInt | None = None


@section
class Frames:
    """Stored pictures become [T, size, size, 3] uint8 ([T, H, W, 3] as stored without a size).

    Attributes:
      kind: names this section among the inputs.
      size: height and width in pixels; None keeps the stored ones, without augmentation.
      area: smallest and largest share of the picture that a random crop takes in training.
      aspect: smallest and largest ratio of width to height of that crop.
      flip: whether training mirrors half of the clips.
    """

    kind: Literal["frames"] = "frames"
    size: PositiveInt | None = 224
    area: tuple[Fraction, Fraction] = (0.08, 1.0)
    aspect: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: bool = True


@section
class Flow:
    """Stored optical flow becomes [size, size, 2 T] uint8, cut and mirrored as the pictures are.

    Attributes:
      kind: names this section among the inputs.
      size: height and width in pixels.
      area: smallest and largest share of the picture that a random crop takes in training.
      aspect: smallest and largest ratio of width to height of that crop.
      flip: whether training mirrors half of the clips.
    """

    kind: Literal["flow"] = "flow"
    size: PositiveInt = 224
    area: tuple[Fraction, Fraction] = (0.08, 1.0)
    aspect: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: bool = True


@section
class Features:
    """Stored features [D] stay as they are.

    Attributes:
      kind: names this section among the inputs.
    """

    kind: Literal["features"] = "features"


@section
class ResNetEncoder:
    """A residual network without its classifier layer.

    Attributes:
      kind: names this section among the encoders, and the network.
      width: channels of the first stage; the feature has 8 times as many, 32 times with resnet50.
      mean: channel means of the input (pictures: in 0 .. 1).
      std: channel standard deviations of the input.
      weights: file of weights to start from, see `tcmax_jax.models.convert`; None starts anew.
      weights_prefix: what their names begin with; None takes "<modality>_net." if there are such
        names, as in checkpoints of the PyTorch TCMax code, and otherwise all.
    """

    kind: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    width: PositiveInt = 64
    mean: tuple[float, ...] = (0.0,)
    std: tuple[PositiveFloat, ...] = (1.0,)
    weights: FilePath | None = None
    weights_prefix: str | None = None

    @property
    def feature_size(self):
        """Number of entries of the feature."""
        return (32 if self.kind == "resnet50" else 8) * self.width


@section
class MLPEncoder:
    """Dense layers on the flattened input.

    Attributes:
      kind: names this section among the encoders.
      sizes: units of each layer, the last one being the feature.
      mean: channel means of the input (pictures: in 0 .. 1).
      std: channel standard deviations of the input.
    """

    kind: Literal["mlp"] = "mlp"
    sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128, 64)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[PositiveFloat, ...] = (1.0,)

    @property
    def feature_size(self):
        """Number of entries of the feature."""
        return self.sizes[-1]


@section
class FrozenEncoder:
    """No encoder: stored features go to the head as they are, and heads alone are trained.

    Attributes:
      kind: names this section among the encoders.
      size: entries of the feature.
    """

    kind: Literal["frozen"] = "frozen"
    size: PositiveInt

    @property
    def feature_size(self):
        """Number of entries of the feature."""
        return self.size


@section
class Modality:
    """How one modality of the data is read and encoded.

    Attributes:
      input: from the stored record to the encoder's input.
      encoder: from that input to a feature.
    """

    input: Annotated[Spectrogram | Frames | Flow | Features, Field(discriminator="kind")]
    encoder: Annotated[ResNetEncoder | MLPEncoder | FrozenEncoder, Field(discriminator="kind")]


def check_stored(name: str, modality: Modality, stored: Mapping) -> None:
    """Checks that an encoder can read what is stored, before any data is prepared.

    Args:
      name: name of the modality.
      modality: its section.
      stored: {modality: section of its stored form}.

    Raises:
      ValueError: nothing is stored of it, or something else.
    """
    if name not in stored:
        raise ValueError(
            f"modalities.{name} needs data.stored.{name}, got {', '.join(stored)} there"
        )
    form, source = stored[name], modality.input
    if source.kind != form.input_kind:
        raise ValueError(
            f"data.stored.{name}.kind={form.kind} needs modalities.{name}.input.kind="
            f"{form.input_kind}, got {source.kind}"
        )
    if isinstance(source, Spectrogram) and (source.steps or 0) > form.steps:
        raise ValueError(
            f"modalities.{name}.input.steps is at most the {form.steps} that are stored, got "
            f"{source.steps}; store longer sound"
        )
    features, encoder = isinstance(source, Features), modality.encoder
    if isinstance(encoder, FrozenEncoder) and not (features and encoder.size == form.size):
        raise ValueError(
            f"modalities.{name}.encoder.kind=frozen needs stored features of {encoder.size} "
            f"entries, got data.stored.{name}={form}"
        )
    if features and isinstance(encoder, ResNetEncoder):
        raise ValueError(
            f"modalities.{name}.encoder.kind is frozen or mlp for features, got {encoder.kind}"
        )
