"""What is stored of a clip for each modality, and how it is read from the clip's files.

Every class here says with `shape` and `dtype` what it stores (None: encoded pictures, as bytes),
with `input_kind` which transform reads that, with `file` what it needs of a clip, and with `read`
how it is made. Decoding processes import this module, so it must stay free of JAX and TensorFlow
Datasets; and training reads what is stored without a decoder, so `read` alone imports FFmpeg.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from tcmax_jax.data.clips import Clip
from tcmax_jax.data.feature_files import check_rows, read_feature
from tcmax_jax.data.features import (
    Fill,
    fit_length,
    log_filter_bank,
    log_spectrogram,
    optical_flow,
)
from tcmax_jax.data.pictures import Box, encode_flow, encode_image


class Content(NamedTuple):
    """What was read of one clip for one modality.

    Attributes:
        value: Array, or list of encoded pictures.
        seconds: Length of the clip's sound before it was brought to the stored length; None of
            pictures.
    """

    value: np.ndarray | list[bytes]
    seconds: float | None = None


class _Form:
    """What all forms check alike."""

    def check(self, clips: Sequence[Clip]) -> None:
        """Raises RawDataError where a file fits each clip of a list, but not all of them."""

    def __post_init__(self):
        """Raises ValueError where a size is not above 0, or a box not inside the picture."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "box":
                left, top, right, bottom = value
                if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                    raise ValueError(
                        "box: expected 0 <= left < right <= 1 and 0 <= top < bottom <= 1, got "
                        f"{value}; correct the setting"
                    )
            elif isinstance(value, int | float) and value <= 0:
                raise ValueError(
                    f"{field.name}: expected a number above 0, got {value}; correct the setting"
                )


class _Sound(_Form):
    """What forms of sound have in common."""

    dtype: ClassVar = np.float16
    input_kind: ClassVar = "spectrogram"

    def file(self, clip: Clip) -> Path | None:
        """File that is read."""
        return clip.audio

    def _read(self, clip: Clip) -> np.ndarray:
        """Returns the sound of a clip, [samples]."""
        from tcmax_jax.data.media import read_audio

        return read_audio(clip.audio, rate=self.rate, start=clip.start, end=clip.end)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pictures(_Form):
    """What forms of encoded pictures have in common."""

    count: int
    short_side: int
    box: Box

    dtype: ClassVar = None

    @property
    def shape(self) -> tuple[int]:
        """Number of pictures."""
        return (self.count,)

    def file(self, clip: Clip) -> Path | None:
        """File that is read."""
        return clip.video

    def _read(self, reader: Callable, clip: Clip):
        """Returns what a reader of `tcmax_jax.data.media` gives."""
        return reader(
            clip.video,
            count=self.count,
            short_side=self.short_side,
            box=self.box,
            start=clip.start,
            end=clip.end,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSpectrogram(_Sound):
    """A log-spectrogram of the sound, see `tcmax_jax.data.features.log_spectrogram`.

    Attributes:
        rate: Sampling rate in Hz.
        seconds: Length of the sound.
        fill: How shorter sound reaches that length, see `tcmax_jax.data.features.fit_length`.
        n_fft: Samples per window.
        hop: Samples from one window to the next.
    """

    rate: int
    seconds: float
    fill: Fill
    n_fft: int
    hop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Frequencies and windows."""
        return self.n_fft // 2 + 1, 1 + round(self.seconds * self.rate) // self.hop

    def read(self, clip: Clip) -> Content:
        """Read a clip; raises MediaError."""
        audio = self._read(clip)
        fitted = fit_length(audio, round(self.seconds * self.rate), self.fill)
        spectrogram = log_spectrogram(fitted, n_fft=self.n_fft, hop=self.hop)
        return Content(spectrogram.astype(np.float16), len(audio) / self.rate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterBank(_Sound):
    """Kaldi's log mel filter banks of the sound, see `tcmax_jax.data.features.log_filter_bank`.

    The mean of the sound is removed first. Longer sound is cut at its end; where it ends early,
    zeros follow its filter banks, as in the PyTorch TCMax code.

    Attributes:
        rate: Sampling rate in Hz.
        bins: Number of filters.
        steps: Number of windows of 25 ms, 10 ms apart.
    """

    rate: int
    bins: int
    steps: int

    @property
    def shape(self) -> tuple[int, int]:
        """Filters and windows."""
        return self.bins, self.steps

    def read(self, clip: Clip) -> Content:
        """Read a clip; raises MediaError."""
        audio = self._read(clip)
        window = round(self.rate * 0.025)
        padded = np.pad(audio - audio.mean(), (0, max(window - len(audio), 0)))
        banks = log_filter_bank(padded, rate=self.rate, bins=self.bins)[:, : self.steps]
        banks = np.pad(banks, ((0, 0), (0, self.steps - banks.shape[1])))
        return Content(banks.astype(np.float16), len(audio) / self.rate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames(_Pictures):
    """Pictures evenly in time, as JPEG, see `tcmax_jax.data.media.read_frames`.

    Attributes:
        count: Number of pictures.
        short_side: Pixels of their shorter side.
        box: Crop (left, top, right, bottom) as fractions of width and height, before resizing.
    """

    input_kind: ClassVar = "frames"

    def read(self, clip: Clip) -> Content:
        """Read a clip; raises MediaError."""
        from tcmax_jax.data.media import read_frames

        frames = self._read(read_frames, clip)
        return Content([encode_image(frame) for frame in frames])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flow(_Pictures):
    """Optical flow from frame to next frame, evenly in time, as JPEG of 8 bits a component.

    See `tcmax_jax.data.features.optical_flow` and `tcmax_jax.data.pictures.encode_flow`.

    Attributes:
        count: Number of flow fields.
        short_side: Pixels of their shorter side.
        box: Crop (left, top, right, bottom) as fractions of width and height, before resizing.
        bound: Largest displacement in stored pixels; larger ones are clipped.
    """

    bound: float

    input_kind: ClassVar = "flow"

    def read(self, clip: Clip) -> Content:
        """Read a clip; raises MediaError."""
        from tcmax_jax.data.media import read_frame_pairs

        pairs = self._read(read_frame_pairs, clip)
        return Content([encode_flow(optical_flow(*pair), self.bound) for pair in pairs])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features(_Form):
    """Pre-extracted features, see `tcmax_jax.data.feature_files`.

    Attributes:
        path: File or folder of the features of all clips, relative to that of the clips' list.
        size: Number of entries of a clip's feature.
    """

    path: str
    size: int

    dtype: ClassVar = np.float32
    input_kind: ClassVar = "features"

    @property
    def shape(self) -> tuple[int]:
        """Number of entries."""
        return (self.size,)

    def file(self, clip: Clip) -> Path:
        """File or folder that is read."""
        return clip.folder / self.path

    def read(self, clip: Clip) -> Content:
        """Read a clip; raises MediaError."""
        return Content(read_feature(self.file(clip), clip, self.size))

    def check(self, clips: Sequence[Clip]) -> None:
        """Raises RawDataError where an .npy file has not one row for each clip."""
        check_rows(self.file(clips[0]), len(clips))


Stored = LogSpectrogram | FilterBank | Frames | Flow | Features
