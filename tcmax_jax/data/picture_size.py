"""The size that an encoded picture declares, read before it is decoded."""

import struct

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# Markers of JPEG: those that begin a frame, and those that stand without a length.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def declared_size(encoded: bytes) -> tuple[int, int] | None:
    """Read the size of a picture from its header.

    Args:
        encoded: A file's bytes.

    Returns:
        (width, height); None of what is no JPEG or PNG, has no such header, or ends early.
    """
    if encoded.startswith(_PNG):
        return _png_size(encoded)
    if encoded.startswith(_JPEG):
        return _jpeg_size(encoded)
    return None


def _png_size(encoded: bytes) -> tuple[int, int] | None:
    """Walk all chunks, since OpenCV takes memory for what each of them says it holds."""
    at = len(_PNG)
    while length := _unpack(">I", encoded, at):
        if encoded[at + 4 : at + 8] == b"IEND":
            return _unpack(">II", encoded, len(_PNG) + 8)
        at += 12 + length[0]
    return None


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Walk the segments as libjpeg does, which skips what is none."""
    at = len(_JPEG)
    while (at := encoded.find(b"\xff", at)) >= 0:
        while encoded[at : at + 1] == b"\xff":
            at += 1
        marker = encoded[at] if at < len(encoded) else 0
        if marker in _FRAMES:
            size = _unpack(">HH", encoded, at + 4)
            return size and size[::-1]
        if marker and marker not in _ALONE:
            length = _unpack(">H", encoded, at + 1)
            at += length[0] if length else 0
        at += 1
    return None


def _unpack(form: str, encoded: bytes, at: int) -> tuple | None:
    if at + struct.calcsize(form) > len(encoded):
        return None
    return struct.unpack_from(form, encoded, at)
