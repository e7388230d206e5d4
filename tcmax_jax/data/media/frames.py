"""Pictures of videos and stills as displayed: evenly spaced in time, upright, cropped, resized."""

import contextlib
import os
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from tcmax_jax.data.limits import MediaError, check_pixels
from tcmax_jax.data.media.containers import decoding
from tcmax_jax.data.media.times import Shown, frames_from, video_end
from tcmax_jax.data.pictures import Box

# Seconds; absorbs rounding where a frame's time is compared with a computed time.
TIME_SLACK = 1e-6


def read_frames(
    path: str | os.PathLike,
    *,
    count: int,
    short_side: int,
    box: Box = (0, 0, 1, 1),
    start: float | None = None,
    end: float | None = None,
) -> np.ndarray:
    """Decodes evenly spaced frames of a file's first video stream, crops and resizes them.

    Frame k is the one on display at start + (k + 1/2) (end - start) / count, the middle of the
    k-th of `count` equal parts of [`start`, `end`); the last frame is repeated past the stream's
    end. Pictures are those that players show: turned and mirrored as the file says (display matrix
    of videos, EXIF of stills), and stretched where pixels are not square, before they are cropped.

    Args:
      path: any file FFmpeg can read.
      count: number of frames.
      short_side: pixels of the shorter side of the results; the aspect is kept.
      box: crop (left, top, right, bottom) as fractions of width and height, before resizing.
      start: begin of the interval in seconds; None is the begin of the clip.
      end: end of the interval in seconds; None is the end of the stream.

    Returns:
      uint8 [count, height, width, 3], RGB.

    Raises:
      MediaError: the file is missing, without pictures, broken, part of a file, or ends before
        `start`, if its pictures change their size or are larger than `MAX_PIXELS`, or if there are
        more than `MAX_FRAMES`.
    """
    shown = ((frame,) for frame, _, _ in _shown_frames(path, count, start, end))
    return np.stack([picture for (picture,) in _pictures(path, shown, box, short_side)])


def read_frame_pairs(
    path: str | os.PathLike,
    *,
    count: int,
    short_side: int,
    box: Box = (0, 0, 1, 1),
    start: float | None = None,
    end: float | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Decodes evenly spaced frames as `read_frames` does, each with the frame that follows it.

    The stream's last frame comes second, behind the one before it; a stream of one frame is paired
    with itself. Arguments and errors are those of `read_frames`.

    Returns:
      `count` pairs of uint8 [height, width, 3], RGB.
    """
    pairs = (
        (frame, after) if after is not None else (before or frame, frame)
        for frame, before, after in _shown_frames(path, count, start, end)
    )
    return _pictures(path, pairs, box, short_side)


def _shown_frames(path, count: int, start, end) -> Iterator[tuple]:
    """Yields (frame, the one before or None, the one after or None) at times of `read_frames`."""
    begin = start or 0.0
    stop = video_end(path) if end is None else end
    times = list(begin + (np.arange(count) + 0.5) * (stop - begin) / count)
    before = shown = None
    with contextlib.closing(frames_from(path, begin, end)) as frames:
        for after in frames:
            while shown and times and times[0] < after.seconds - TIME_SLACK:
                del times[0]
                yield shown, before, after
            if not times:
                return
            before, shown = shown, after
    for _ in times:
        yield shown, before, None


def _pictures(path, groups: Iterable[tuple], box: Box, short_side: int) -> list[tuple]:
    """Returns the pictures of groups of frames, decoded on demand, all of one size."""
    with decoding(path, "video"):
        pictures = [
            tuple(_picture(path, each, box, short_side) for each in group) for group in groups
        ]
    sizes = dict.fromkeys(f"{p.shape[1]} x {p.shape[0]}" for group in pictures for p in group)
    if len(sizes) > 1:
        raise MediaError(
            "pictures of several sizes",
            f"{path}: Expected pictures of one size, got {', '.join(sizes)} after resizing. "
            "Re-encode the file.",
        )
    return pictures


def _picture(path, shown: Shown, box: Box, short_side: int) -> np.ndarray:
    """Turns a decoded frame upright, crops and resizes it, uint8 [H, W, 3] RGB."""
    frame, _, orientation = shown
    check_pixels(path, frame.width, frame.height)
    image = orientation.upright(frame.to_ndarray(format="rgb24"))
    height, width = image.shape[:2]
    left, top, right, bottom = np.rint(np.multiply(box, (width, height) * 2)).astype(int)
    left, top = min(left, width - 1), min(top, height - 1)
    image = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    sides = np.multiply(image.shape[1::-1], orientation.pixel)  # width and height
    width, height = (round(side) for side in sides * (short_side / sides.min()))
    # A strip of one row becomes `short_side` times as long.
    check_pixels(f"{path}, resized", width, height)
    smaller = width * height < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    # OpenCV takes no mirrored views.
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=interpolation)
