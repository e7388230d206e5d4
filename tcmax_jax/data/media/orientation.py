"""Rotation, mirroring and pixel aspect of a decoded picture."""

import os
import re
import struct
from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import Type

from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media.declared import format_of

# Columns of the picture's axes: where a step to the right, and one downwards, leads on display.
_UPRIGHT = (1, 0, 0, 1)
# By the value of EXIF's tag Orientation.
_EXIF = {
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
# By degrees counterclockwise.
_TURNS = {90: _EXIF[8], -90: _EXIF[6], 180: _EXIF[3], -180: _EXIF[3]}
# EXIF in JPEG, PNG and WebP, and TIFF, which is of the same structure.
_EXIF_BEGINS = re.compile(
    rb"(?:\xff\xe1..Exif\0\0|eXIf|EXIF....(?:Exif\0\0)?|\A)(?=II\*\0|MM\0\*)", re.DOTALL
)
_ORIENTATION = 0x0112
_MOST_AWRY = 0.05  # of a display matrix, as a sine


class Orientation(NamedTuple):
    """How to display pictures of a stream.

    Attributes:
      axes: (right, down) of display for a step to the right, then for one downwards; each 1, 0, -1.
      aspect: width of a pixel over its height, before it is turned.
    """

    axes: tuple[int, int, int, int] = _UPRIGHT
    aspect: float = 1.0

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """Returns a picture [H, W, ...] rotated and mirrored for display."""
        right, _, across, down = self.axes
        if not right:
            picture, right, down = picture.swapaxes(0, 1), across, self.axes[1]
        return picture[::down, ::right]

    @property
    def pixel(self) -> tuple[float, float]:
        """(width, height) of a pixel as displayed, one of them 1."""
        return (self.aspect, 1.0) if self.axes[0] else (1.0, self.aspect)


def orientation_of(path: str | os.PathLike, container, stream, frame) -> Orientation:
    """Returns the orientation of a frame, from its display matrix or, for stills, its EXIF.

    Raises:
      MediaError: it is turned by anything but quarters.
    """
    if format_of(container).endswith("_pipe"):
        with open(path, "rb") as file:
            return Orientation(_EXIF.get(exif_orientation(file.read()), _UPRIGHT))
    aspect = stream.sample_aspect_ratio
    return Orientation(_axes(path, frame), float(aspect) if aspect else 1.0)


def exif_orientation(encoded: bytes) -> int:
    """Returns EXIF's Orientation, 1 to 8, of a picture file; 1 (upright) if it has none."""
    match = _EXIF_BEGINS.search(encoded)
    if match is None:
        return 1
    tiff = encoded[match.end() :]
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (number,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(number):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if value in _EXIF else 1
    except struct.error:
        pass  # It ends early: then nothing is said.
    return 1


def _axes(path, frame) -> tuple[int, int, int, int]:
    try:
        data = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # PyAV before 19 knows no EXIF; of such a frame it tells the turn alone.
        return _TURNS.get(round(frame.rotation), _UPRIGHT)
    matrix = np.frombuffer(bytes(data or 36), np.int32)[[0, 1, 3, 4]].astype(float)
    scale = np.sqrt(np.sum(matrix**2) / 2)
    if not scale:
        return _UPRIGHT
    axes = tuple(int(x) for x in np.rint(matrix / scale))
    if np.abs(matrix / scale - axes).max() > _MOST_AWRY or axes.count(0) != 2:
        raise MediaError(
            "picture turned by part of a quarter",
            f"{path}: Expected pictures turned by quarters, got the display matrix "
            f"{matrix.tolist()}. Re-encode the file upright.",
        )
    return axes
