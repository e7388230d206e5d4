"""What a container declares of itself: its start, its end, and whether the file is complete."""

import os
import re
import struct
from typing import BinaryIO

import av

from tcmax_jax.data.limits import MediaError

# What a file may lack of what it declares: headers round, and some are written beforehand.
_SMALL_SHARE = 0.05
# Formats whose headers tell the end of each stream.
_STREAMS_DECLARE = {"mov", "flac"}
_HEAD = 8192  # bytes in which headers are looked for
# Sizes from here on stand for none in files that were written into a pipe.
_NO_SIZE = 2**31 - 2**12
# What an MP4 file consists of; what else may follow is no part of it.
_BOXES = {
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"meta", b"free", b"skip",
    b"wide", b"uuid", b"udta", b"emsg", b"prft", b"pdin",
}  # fmt: skip
_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
# GUID of an ASF file, and of its object of properties.
_ASF = bytes.fromhex("3026b275")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def format_of(container) -> str:
    """Returns FFmpeg's name of a container's format, the first of its names."""
    return container.format.name.split(",")[0]


def origin(container) -> float:
    """Returns the time on the container's clock at which the clip starts, in seconds."""
    # Below zero lies only what the codec needs to start up.
    return max(container.start_time or 0, 0) / av.time_base


def declared_end(container, stream) -> float | None:
    """Returns when a stream ends by its header, in seconds of the clip; None if not declared.

    FFmpeg guesses it of some formats, from the size of the file; that does not count.
    """
    name, zero = format_of(container), origin(container)
    if name == "matroska":
        return _of_tag(stream, zero)
    if name in _STREAMS_DECLARE and stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - zero
    return None


def check_complete(path, container, stream, held: float) -> None:
    """Raises MediaError where a file declares more of a stream than it holds.

    Args:
      path: the file.
      container: the file, opened and read to its end.
      stream: its stream.
      held: seconds of the clip at which the stream ended.
    """
    declared = declared_end(container, stream) if format_of(container) == "flac" else None
    if declared is not None and _lacks(declared, held):
        raise _part(path, f"{declared:.2f} s of {stream.type}", f"{held:.2f} s")
    check_size(path)


def check_size(path) -> None:
    """Raises MediaError where a file has fewer bytes than it declares."""
    with open(path, "rb") as file:
        stated, size = declared_bytes(file), file.seek(0, os.SEEK_END)
    if stated is not None and _lacks(stated, size):
        raise _part(path, f"{stated} bytes", str(size))


def declared_bytes(file: BinaryIO) -> int | None:
    """Returns the length in bytes that a file declares for itself; None if it declares none.

    FFmpeg does not tell: it takes the size of the file where the header says another one.
    """
    head, before = file.read(_HEAD), 0
    if head[:3] == b"ID3":  # Tags before MP3, of a length in four times seven bits.
        before = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
        file.seek(before)
        head = file.read(_HEAD)
    if head[4:8] in _BOXES:
        return _end_of_boxes(file)
    if head[:4] in (b"RIFF", b"FORM"):  # WAV and AVI, AIFF
        size = _number(head, 4, order="little" if head[:1] == b"R" else "big")
        return size + 8 if size < _NO_SIZE else None
    if head[:4] == b"caff" and (at := head.find(b"data")) > 0:
        size = _number(head, at + 4, 8)
        return at + 12 + size if size < 2**63 else None
    if head[:4] == _EBML and (at := head.find(_SEGMENT) + 4) > 4:
        return _end_of_segment(head, at)
    if head[:3] == b"FLV" and (at := head.find(b"filesize\0")) > 0:
        return int(struct.unpack_from(">d", head, at + 9)[0])
    if head[:4] == _ASF and (at := head.find(_ASF_PROPERTIES)) > 0:
        is_broadcast = _number(head, at + 88, order="little") & 1
        return None if is_broadcast else _number(head, at + 40, 8, order="little")
    if head[:1] == b"\xff" and (match := re.search(rb"Xing|Info", head[:200])):  # MP3
        has_frames, has_bytes = head[match.end() + 3] & 1, head[match.end() + 3] & 2
        at = match.end() + (8 if has_frames else 4)
        return before + _number(head, at) if has_bytes else None
    return None


def nothing_inside(path, what: str, start, end, clip_seconds: float) -> MediaError:
    """Returns the error for a cut that starts after the end of its clip."""
    until = "its end" if end is None else f"{end:g} s"
    return MediaError(
        f"no {what} in the cut",
        f"{path}: Expected {what} from {start or 0:g} s to {until}, got a clip of "
        f"{clip_seconds:.2f} s. Correct start and end.",
    )


def _part(path, declared: str, held: str) -> MediaError:
    return MediaError(
        "part of a file",
        f"{path}: Expected {declared}, as the file declares, got {held}: it is a part of a file. "
        "Fetch or copy it again.",
    )


def _lacks(declared: float, held: float) -> bool:
    return declared - held > _SMALL_SHARE * declared


def _of_tag(stream, zero: float) -> float | None:
    match = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    hours, minutes, seconds = map(float, match.groups())
    return 3600 * hours + 60 * minutes + seconds - zero


def _end_of_boxes(file: BinaryIO) -> int | None:
    """Returns the end of the last box of an MP4 file."""
    at = 0
    while (head := _at(file, at, 16))[4:8] in _BOXES:
        size = _number(head, 0)
        size = _number(head, 8, 8) if size == 1 else size
        if size < 8:
            return None  # It goes to the end of the file, or is none.
        at += size
    return at


def _end_of_segment(head: bytes, at: int) -> int | None:
    """Returns the end of the segment of a Matroska file, given the place of its size."""
    length = 9 - head[at].bit_length()  # in bytes, by the number of leading zeros
    size = _number(head, at, length) & ((1 << 7 * length) - 1)
    return None if size == (1 << 7 * length) - 1 else at + length + size


def _at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _number(head: bytes, at: int, size: int = 4, order="big") -> int:
    return int.from_bytes(head[at : at + size], order)
