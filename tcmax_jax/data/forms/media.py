"""Stored forms of decoded media: sound, pictures, optical flow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from tcmax_jax.data.clips import Clip
from tcmax_jax.data.features import Fill, fit_length, log_filter_bank, log_spectrogram, optical_flow
from tcmax_jax.data.forms.base import Content, Form
from tcmax_jax.data.pictures import encode_flow, encode_image
from tcmax_jax.section import Count, Fraction, Positive, SectionError, section

# A step of 16 bits; full scale is 1.
_SILENT = 2.0**-15
# Levels of 255: what is left of black where it is stored as 16, and of noise in still pictures.
_BLACK, _STILL = 4, 0.5


def _remark(pictures: Sequence[np.ndarray]) -> str | None:
    """Returns a note on unusual pictures of a clip, or None."""
    if max(picture.max() for picture in pictures) <= _BLACK:
        return "black pictures"
    first, *others = (picture.astype(np.float32) for picture in pictures)
    if others and max(np.abs(other - first).mean() for other in others) < _STILL:
        return "still pictures"
    return None


@section
class SoundForm(Form):
    """Base of forms of sound, each with its sampling `rate` in Hz."""

    dtype: ClassVar = np.float16
    input_kind: ClassVar = "spectrogram"

    def file(self, clip: Clip) -> Path | None:
        """Returns the file of the sound."""
        return clip.audio

    def read(self, clip: Clip) -> Content:
        """Reads a clip; raises MediaError."""
        from tcmax_jax.data.media import read_audio

        audio = read_audio(clip.audio, rate=self.rate, start=clip.start, end=clip.end)
        remark = "silent sound" if np.abs(audio).max() < _SILENT else None
        return Content(self._spectrogram(audio).astype(self.dtype), len(audio) / self.rate, remark)


@section
class PictureForm(Form):
    """Base of forms of encoded pictures.

    Attributes:
      count: number of pictures, or flow fields, of a clip.
      short_side: pixels of their shorter side.
      box: crop (left, top, right, bottom) as fractions of width and height, before resizing.
    """

    dtype: ClassVar = np.uint8
    encoded: ClassVar = True

    count: Count
    short_side: Count = 256
    box: tuple[Fraction, Fraction, Fraction, Fraction] = (0.0, 0.0, 1.0, 1.0)

    @property
    def shape(self) -> tuple[int]:
        """Number of pictures."""
        return (self.count,)

    def check(self):
        """Raises SectionError where the box is not inside the picture."""
        left, top, right, bottom = self.box
        if not (left < right and top < bottom):
            raise SectionError(
                f"Expected box with left < right and top < bottom, got {list(self.box)}."
            )

    def file(self, clip: Clip) -> Path | None:
        """Returns the file of the pictures."""
        return clip.video

    def stand_in(self, rng) -> list[bytes]:
        """Returns one square picture, repeated."""
        return [self._stand_in(rng, (self.short_side, self.short_side))] * self.count

    def _read(self, reader: Callable, clip: Clip):
        """Returns the result of a reader of `tcmax_jax.data.media`."""
        options = {"count": self.count, "short_side": self.short_side, "box": self.box}
        return reader(clip.video, **options, start=clip.start, end=clip.end)


@section
class LogSpectrogram(SoundForm):
    """A log-spectrogram of the sound, see `tcmax_jax.data.features.log_spectrogram`.

    Attributes:
      rate: sampling rate in Hz.
      seconds: length of the stored sound, from which training may crop.
      fill: how shorter sound reaches that length, repeated or amid silence.
      n_fft: samples in a window.
      hop: samples from one window to the next.
    """

    kind: Literal["log_spectrogram"] = "log_spectrogram"
    rate: Count = 22050
    seconds: Positive = 10.0
    fill: Fill = "tile"
    n_fft: Count = 256
    hop: Count = 128

    @property
    def shape(self) -> tuple[int, int]:
        """Frequencies and windows."""
        return self.n_fft // 2 + 1, 1 + round(self.seconds * self.rate) // self.hop

    def _spectrogram(self, audio):
        fitted = fit_length(audio, round(self.seconds * self.rate), self.fill)
        return log_spectrogram(fitted, n_fft=self.n_fft, hop=self.hop)


@section
class FilterBank(SoundForm):
    """Kaldi's log mel filter banks of the sound, see `tcmax_jax.data.features.log_filter_bank`.

    The mean of the sound is removed first. Longer sound is cut at its end; where it ends early,
    zeros follow its filter banks, as in the PyTorch TCMax code.

    Attributes:
      rate: sampling rate in Hz.
      bins: number of filters.
      steps: number of windows of 25 ms, 10 ms apart.
    """

    kind: Literal["filter_bank"] = "filter_bank"
    rate: Count = 16000
    bins: Count = 128
    steps: Count = 1024

    @property
    def shape(self) -> tuple[int, int]:
        """Filters and windows."""
        return self.bins, self.steps

    def _spectrogram(self, audio):
        window = round(self.rate * 0.025)
        # Cut before there are windows: a small file of a low rate may be hours.
        needed = (self.steps - 1) * round(self.rate * 0.010) + window
        audio = audio[:needed] - audio.mean()
        padded = np.pad(audio, (0, max(window - len(audio), 0)))
        banks = log_filter_bank(padded, rate=self.rate, bins=self.bins)[:, : self.steps]
        return np.pad(banks, ((0, 0), (0, self.steps - banks.shape[1])))


@section
class Frames(PictureForm):
    """Pictures evenly in time, as JPEG, see `tcmax_jax.data.media.read_frames`."""

    input_kind: ClassVar = "frames"

    kind: Literal["frames"] = "frames"
    count: Count = 3

    def read(self, clip: Clip) -> Content:
        """Reads a clip; raises MediaError."""
        from tcmax_jax.data.media import read_frames

        frames = self._read(read_frames, clip)
        return Content([encode_image(frame) for frame in frames], remark=_remark(frames))

    def _stand_in(self, rng, size):
        return encode_image(rng.integers(256, size=(*size, 3), dtype=np.uint8))


@section
class Flow(PictureForm):
    """Optical flow from frame to next frame, evenly in time, as JPEG of 8 bits a component.

    See `tcmax_jax.data.features.optical_flow` and `tcmax_jax.data.pictures.encode_flow`.

    Attributes:
      bound: largest displacement in stored pixels; larger ones are clipped.
    """

    input_kind: ClassVar = "flow"

    kind: Literal["flow"] = "flow"
    count: Count = 10
    bound: Positive = 20.0

    def read(self, clip: Clip) -> Content:
        """Reads a clip; raises MediaError."""
        from tcmax_jax.data.media import read_frame_pairs

        pairs = self._read(read_frame_pairs, clip)
        flow = [encode_flow(optical_flow(*pair), self.bound) for pair in pairs]
        return Content(flow, remark=_remark([picture for pair in pairs for picture in pair]))

    def _stand_in(self, rng, size):
        return encode_flow(rng.uniform(-1, 1, (*size, 2)), 1.0)
