"""The data sections of the configuration: which data set, and what is stored of its clips."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tcmax_jax.training.config.section import Fraction, section

# Absolute, since a run may go on from another folder than the one it was started in.
FilePath = Annotated[
    str, pydantic.AfterValidator(lambda path: str(Path(path).expanduser().absolute()))
]
_Box = tuple[Fraction, Fraction, Fraction, Fraction]
# The share of the PyTorch TCMax code, which shuffles the training list.
_ValidationShare = Annotated[float, Field(ge=0, lt=1)]

KINETICS_SOUNDS = (
    "blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball",
    "laughing", "mowing lawn", "playing accordion", "playing bagpipes", "playing bass guitar",
    "playing clarinet", "playing drums", "playing guitar", "playing harmonica",
    "playing keyboard", "playing organ", "playing piano", "playing saxophone",
    "playing trombone", "playing trumpet", "playing violin", "playing xylophone",
    "ripping paper", "shoveling snow", "shuffling cards", "singing", "stomping grapes",
    "tap dancing", "tapping guitar", "tapping pen", "tickling",
)  # fmt: skip


@section
class LogSpectrogram:
    """Stores log-spectrograms of the sound, see `tcmax_jax.data.stored.LogSpectrogram`.

    Attributes:
      kind: names this section among the stored forms.
      rate: sampling rate in Hz.
      seconds: length of the stored sound, from which training may crop.
      fill: how shorter sound reaches that length, repeated or amid silence.
      n_fft: samples in a window.
      hop: samples from one window to the next.
    """

    input_kind: ClassVar = "spectrogram"

    kind: Literal["log_spectrogram"] = "log_spectrogram"
    rate: PositiveInt = 22050
    seconds: PositiveFloat = 10.0
    fill: Literal["tile", "zero"] = "tile"
    n_fft: PositiveInt = 256
    hop: PositiveInt = 128

    @property
    def steps(self):
        """Number of windows."""
        return 1 + round(self.seconds * self.rate) // self.hop


@section
class FilterBank:
    """Stores Kaldi filter banks of the sound, see `tcmax_jax.data.stored.FilterBank`.

    Attributes:
      kind: names this section among the stored forms.
      rate: sampling rate in Hz.
      bins: number of filters.
      steps: number of windows, 10 ms apart; shorter sound is followed by zeros.
    """

    input_kind: ClassVar = "spectrogram"

    kind: Literal["filter_bank"] = "filter_bank"
    rate: PositiveInt = 16000
    bins: PositiveInt = 128
    steps: PositiveInt = 1024


@section
class StoredFrames:
    """Stores pictures evenly in time, see `tcmax_jax.data.stored.Frames`.

    Attributes:
      kind: names this section among the stored forms.
      count: number of pictures of a clip.
      short_side: shorter side in pixels.
      box: crop (left, top, right, bottom) as fractions of width and height.
    """

    input_kind: ClassVar = "frames"

    kind: Literal["frames"] = "frames"
    count: PositiveInt = 3
    short_side: PositiveInt = 256
    box: _Box = (0, 0, 1, 1)


@section
class StoredFlow:
    """Stores optical flow from frame to next frame, see `tcmax_jax.data.stored.Flow`.

    Attributes:
      kind: names this section among the stored forms.
      count: number of flow fields of a clip.
      short_side: shorter side in pixels.
      box: crop (left, top, right, bottom) as fractions of width and height.
      bound: largest displacement in stored pixels.
    """

    input_kind: ClassVar = "flow"

    kind: Literal["flow"] = "flow"
    count: PositiveInt = 10
    short_side: PositiveInt = 256
    box: _Box = (0, 0, 1, 1)
    bound: PositiveFloat = 20.0


@section
class StoredFeatures:
    """Stores features that were extracted before, see `tcmax_jax.data.feature_files`.

    Attributes:
      kind: names this section among the stored forms.
      path: file or folder, relative to the folder of the clips' list.
      size: entries of a clip's feature.
    """

    input_kind: ClassVar = "features"

    kind: Literal["features"] = "features"
    path: str
    size: PositiveInt


Stored = Annotated[
    LogSpectrogram | FilterBank | StoredFrames | StoredFlow | StoredFeatures,
    Field(discriminator="kind"),
]


def _forms(**forms):
    """Returns the field of stored forms with a default."""
    return Field(default_factory=lambda: forms, min_length=1)


@section
class SyntheticData:
    """The built-in set: an easy sound, a hard picture (`tcmax_jax.data.synthetic`).

    Attributes:
      kind: names this section among the data sets.
      train_examples: number of training examples.
      validation_examples: number of validation examples.
      test_examples: number of test examples.
      num_classes: number of classes.
      audio_signal: strength of the class pattern in the spectrogram.
      audio_noise: standard deviation of the noise in the spectrogram.
      visual_signal: contrast of the class pattern in the frames.
      visual_noise: standard deviation of the noise in the frames.
      correlation: strength of what the modalities share beyond the label.
      audio_shape: frequencies and time steps of the spectrogram.
      visual_shape: frames, height and width of the pictures.
      seed: seed of the examples; the class patterns never change.
    """

    kind: Literal["synthetic"] = "synthetic"
    train_examples: PositiveInt = 2000
    validation_examples: PositiveInt = 500
    test_examples: PositiveInt = 2000
    num_classes: Annotated[int, Field(ge=2)] = 10
    audio_signal: NonNegativeFloat = 0.35
    audio_noise: NonNegativeFloat = 1.0
    visual_signal: NonNegativeFloat = 0.4
    visual_noise: NonNegativeFloat = 1.0
    correlation: Fraction = 0.0
    audio_shape: tuple[PositiveInt, PositiveInt] = (32, 32)
    visual_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 16, 16)
    seed: NonNegativeInt = 0


@section
class ClipsData:
    """What all data sets of clips have in common.

    Attributes:
      stored: {modality: what is stored of it}.
      allow_skipped: leave out clips that cannot be decoded instead of stopping.
      processes: number of decoding processes; 0 takes all cores.
      beam: options of an Apache Beam pipeline that decodes instead, such as
        ["--runner=FlinkRunner"].
    """

    stored: dict[str, Stored] = _forms(audio=LogSpectrogram(), visual=StoredFrames())
    allow_skipped: bool = False
    processes: NonNegativeInt = 0
    beam: tuple[str, ...] | None = None


@section
class ManifestData(ClipsData):
    """Anybody's clips, listed in a CSV file (`tcmax_jax.data.manifest`).

    Attributes:
      kind: names this section among the data sets.
      manifest: path of the CSV file, `id,split,label[,path][,audio_path][,start][,end]`.
      outside_paths: allow paths in it that are absolute, or leave its folder through `..`; for
        lists that you trust, since what they name is read.
    """

    kind: Literal["manifest"] = "manifest"
    manifest: FilePath
    outside_paths: bool = False


@section
class RawData(ClipsData):
    """A data set of the paper, from a folder as its owners ship it.

    Attributes:
      raw_dir: that folder; of no use once the data is prepared.
    """

    raw_dir: FilePath | None = None


@section
class CremaDData(RawData):
    """CREMA-D (`tcmax_jax.data.builders.crema_d_av`).

    Attributes:
      kind: names this section among the data sets.
      split: list (train.csv and test.csv), hash (of the ids), speaker (no actor in two splits) or
        auto: the list if it is there and otherwise hash.
      validation_share: share of train that becomes validation.
    """

    kind: Literal["crema_d_av"] = "crema_d_av"
    split: Literal["auto", "list", "hash", "speaker"] = "auto"
    validation_share: _ValidationShare = 0.2


@section
class KineticsSoundsData(RawData):
    """Kinetics-Sounds (`tcmax_jax.data.builders.kinetics_sounds`).

    Attributes:
      kind: names this section among the data sets.
      classes: names of the classes as Kinetics-400 spells them.
      test_split: split of Kinetics-400 that is the test split.
      validation_share: share of train that becomes validation.
    """

    kind: Literal["kinetics_sounds"] = "kinetics_sounds"
    stored: dict[str, Stored] = _forms(audio=FilterBank(), visual=StoredFrames())
    classes: Annotated[tuple[str, ...], Field(min_length=2)] = KINETICS_SOUNDS
    test_split: Literal["val", "test"] = "test"
    validation_share: _ValidationShare = 0.2


@section
class AveData(RawData):
    """AVE (`tcmax_jax.data.builders.ave`).

    Attributes:
      kind: names this section among the data sets.
    """

    kind: Literal["ave"] = "ave"


@section
class VggsoundData(RawData):
    """VGGSound (`tcmax_jax.data.builders.vggsound`).

    Attributes:
      kind: names this section among the data sets.
      validation_share: share of train that becomes validation.
    """

    kind: Literal["vggsound"] = "vggsound"
    validation_share: _ValidationShare = 0.2


@section
class Ucf101Data(RawData):
    """UCF101 (`tcmax_jax.data.builders.ucf101_flow`).

    Attributes:
      kind: names this section among the data sets.
      official_split: 1, 2 or 3.
      validation: group (no group in two splits) or example.
      validation_share: share of the groups, or clips, of each class that becomes validation.
    """

    kind: Literal["ucf101_flow"] = "ucf101_flow"
    stored: dict[str, Stored] = _forms(visual=StoredFrames(), flow=StoredFlow())
    official_split: Annotated[int, Field(ge=1, le=3)] = 1
    validation: Literal["group", "example"] = "group"
    validation_share: _ValidationShare = 0.2


@section
class MvsaData(RawData):
    """MVSA-Single (`tcmax_jax.data.builders.mvsa_features`).

    Attributes:
      kind: names this section among the data sets.
    """

    kind: Literal["mvsa_features"] = "mvsa_features"
    stored: dict[str, Stored] = _forms(
        image=StoredFeatures(path="image.npz", size=512),
        text=StoredFeatures(path="text.npz", size=512),
    )


Data = Annotated[
    SyntheticData
    | ManifestData
    | CremaDData
    | KineticsSoundsData
    | AveData
    | VggsoundData
    | Ucf101Data
    | MvsaData,
    Field(discriminator="kind"),
]
