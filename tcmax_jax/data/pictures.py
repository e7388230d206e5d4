"""Pictures and optical flow as encoded bytes."""

import struct

import cv2
import numpy as np

from tcmax_jax.data.limits import MediaError, check_pixels

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# Markers of JPEG: those that begin a frame, and those that stand without a length.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})

Box = tuple[float, float, float, float]

JPEG_QUALITY = 95


def encode_image(frame: np.ndarray, *, lossless: bool = False) -> bytes:
    """Encodes a uint8 [H, W, 3] RGB image as JPEG of quality 95, or as PNG if `lossless`."""
    return _encode(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), lossless)


def decode_image(encoded: bytes) -> np.ndarray:
    """Decodes a JPEG or PNG file, such as those that `encode_image` writes.

    Args:
      encoded: the file's bytes.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      MediaError: it is no JPEG or PNG file, is broken, or is larger than `MAX_PIXELS`.
    """
    size = declared_size(encoded)
    if size:
        check_pixels("picture", *size)
    try:
        data = np.frombuffer(encoded, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if size else None
    except cv2.error:
        image = None
    if image is None:
        raise MediaError(
            "broken picture",
            f"Expected an encoded image, got {len(encoded)} other bytes. Pass the bytes of a JPEG "
            "or PNG file.",
        )
    return image


def encode_flow(flow: np.ndarray, bound: float) -> bytes:
    """Encodes optical flow as one grey JPEG of quality 95, the x components above the y components.

    A component v becomes the grey level round(127.5 (1 + v / bound)), at most `bound` to each side.

    Args:
      flow: float [H, W, 2], displacement to the right and downwards in pixels.
      bound: largest displacement in pixels.
    """
    levels = np.rint(127.5 * (1 + np.clip(flow / bound, -1, 1))).astype(np.uint8)
    stacked = np.concatenate([levels[..., 0], levels[..., 1]])
    return _encode(stacked)


def decode_flow(encoded: bytes) -> np.ndarray:
    """Decodes the result of `encode_flow` to grey levels uint8 [H, W, 2]; 127.5 is no motion.

    Raises:
      MediaError: it is no such picture.
    """
    stacked = decode_image(encoded)[..., 0]
    if len(stacked) % 2:
        raise MediaError(
            "broken picture",
            f"Expected flow as two pictures above each other, got {len(stacked)} rows. Prepare the "
            "data again.",
        )
    return np.stack(np.split(stacked, 2), axis=-1)


def declared_size(encoded: bytes) -> tuple[int, int] | None:
    """Returns (width, height) from a file's header; None if it is not JPEG or PNG, or truncated."""
    if encoded.startswith(_PNG):
        return _png_size(encoded)
    if encoded.startswith(_JPEG):
        return _jpeg_size(encoded)
    return None


def _encode(picture: np.ndarray, lossless: bool = False) -> bytes:
    """Encodes a grey or BGR picture as JPEG, or as PNG."""
    options = [] if lossless else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    try:
        done, encoded = cv2.imencode(".png" if lossless else ".jpg", picture, options)
    except cv2.error:
        done = False
    if not done:
        height, width = picture.shape[:2]
        raise MediaError(
            "picture too long",
            f"Expected a picture that JPEG can hold, of at most 65500 pixels a side, got {width} x "
            f"{height}. Cut it, or lower short_side.",
        )
    return encoded.tobytes()


def _png_size(encoded: bytes) -> tuple[int, int] | None:
    """Walks all chunks, since OpenCV allocates memory for the declared size of each."""
    at = len(_PNG)
    while length := _unpack(">I", encoded, at):
        if encoded[at + 4 : at + 8] == b"IEND":
            return _unpack(">II", encoded, len(_PNG) + 8)
        at += 12 + length[0]
    return None


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Walks the segments as libjpeg does, skipping bytes between them."""
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
