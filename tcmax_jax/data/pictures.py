"""Pictures and optical flow as encoded bytes."""

import cv2
import numpy as np

from tcmax_jax.data.limits import MediaError, check_pixels
from tcmax_jax.data.picture_size import declared_size

Box = tuple[float, float, float, float]

JPEG_QUALITY = 95


def encode_image(frame: np.ndarray, *, lossless: bool = False) -> bytes:
    """Encode a uint8 [H, W, 3] RGB image as JPEG of quality 95, or as PNG if `lossless`."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    options = [] if lossless else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".png" if lossless else ".jpg", bgr, options)
    return encoded.tobytes()


def decode_image(encoded: bytes) -> np.ndarray:
    """Decode a JPEG or PNG file, such as `encode_image` writes.

    Args:
        encoded: The file's bytes.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        MediaError: If it is no JPEG or PNG file, is broken, or is larger than `MAX_PIXELS`.
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
            f"expected an encoded image, got {len(encoded)} other bytes; pass the bytes of a JPEG "
            "or PNG file",
        )
    return image


def encode_flow(flow: np.ndarray, bound: float) -> bytes:
    """Encode optical flow as one grey JPEG of quality 95, the x components above the y components.

    A component v becomes the grey level round(127.5 (1 + v / bound)), at most `bound` to each side.

    Args:
        flow: float [H, W, 2], displacement to the right and downwards in pixels.
        bound: Largest displacement in pixels.
    """
    levels = np.rint(127.5 * (1 + np.clip(flow / bound, -1, 1))).astype(np.uint8)
    stacked = np.concatenate([levels[..., 0], levels[..., 1]])
    _, encoded = cv2.imencode(".jpg", stacked, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


def decode_flow(encoded: bytes) -> np.ndarray:
    """Decode what `encode_flow` wrote to grey levels uint8 [H, W, 2]; 127.5 is no motion.

    Raises:
        MediaError: If it is no such picture.
    """
    stacked = decode_image(encoded)[..., 0]
    if len(stacked) % 2:
        raise MediaError(
            "broken picture",
            f"expected flow as two pictures above each other, got {len(stacked)} rows; prepare the "
            "data again",
        )
    return np.stack(np.split(stacked, 2), axis=-1)
