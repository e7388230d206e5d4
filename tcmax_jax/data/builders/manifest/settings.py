"""What decides the content of a prepared manifest data set."""

import dataclasses
import re
from pathlib import Path

from tcmax_jax.data.builders.naming import digest
from tcmax_jax.data.manifest import ManifestError
from tcmax_jax.data.media import Box, Fill


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManifestSettings:
    """Source and form of a manifest data set.

    Attributes:
        manifest: Path of the CSV file.
        rate: Sampling rate of the sound in Hz.
        seconds: Length of the stored sound.
        fill: How shorter sound reaches that length: "tile" or "zero".
        n_fft: Samples per window of the spectrogram.
        hop: Samples from one window to the next.
        frames: Number of pictures per example.
        short_side: Pixels of the pictures' shorter side.
        box: Crop (left, top, right, bottom) as fractions of width and height.
        allow_skipped: Leave out rows that cannot be decoded instead of stopping.
        processes: Number of processes that decode; 0 takes all cores.
    """

    manifest: str
    rate: int
    seconds: float
    fill: Fill
    n_fft: int
    hop: int
    frames: int
    short_side: int
    box: Box
    allow_skipped: bool
    processes: int

    def __post_init__(self):
        for name in ("rate", "seconds", "n_fft", "hop", "frames", "short_side"):
            _require(getattr(self, name) > 0, name, "a number above 0", getattr(self, name))
        _require(self.processes >= 0, "processes", "0 or more", self.processes)
        _require(self.fill in ("tile", "zero"), "fill", "'tile' or 'zero'", self.fill)
        left, top, right, bottom = self.box
        inside = 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        _require(inside, "box", "0 <= left < right <= 1 and 0 <= top < bottom <= 1", self.box)

    @property
    def samples(self) -> int:
        """Samples of the stored sound, before the spectrogram."""
        return round(self.seconds * self.rate)

    @property
    def spectrogram_shape(self) -> tuple[int, int]:
        """Frequencies and windows of the stored spectrogram."""
        return self.n_fft // 2 + 1, 1 + self.samples // self.hop


def content_name(settings: ManifestSettings) -> str:
    """Name that is the same for the same CSV content and settings, wherever the folder lies.

    The media files are not part of it: where they change under the same names, delete the prepared
    folder.

    Args:
        settings: Every field but `manifest` and `processes` counts.

    Returns:
        The CSV's folder's name and the first digits of a SHA-256.

    Raises:
        ManifestError: If the CSV is missing.
    """
    path = Path(settings.manifest).resolve()
    if not path.is_file():
        raise ManifestError(f"{path}: expected a CSV file, got none there; correct the path")
    fields = dataclasses.asdict(settings)
    del fields["manifest"], fields["processes"]
    # 1 and 1.0 are the same setting but not the same text.
    fields["box"] = [float(edge) for edge in settings.box]
    fields["seconds"] = float(settings.seconds)
    folder = re.sub(r"[^\w-]+", "_", path.parent.name) or "manifest"
    return f"{folder}-{digest(fields, path.read_bytes())}"


def _require(holds: bool, name: str, expected: str, value) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {expected}, got {value!r}; correct the setting")
