"""Decoding of sound and frames from media files, in seconds of the clip's own time."""

import itertools
import os
from collections.abc import Iterable, Iterator

import av
import cv2
import numpy as np

from tcmax_jax.data.containers import decoding, opened
from tcmax_jax.data.limits import (
    MAX_FRAMES,
    MAX_RATE,
    MAX_SAMPLES,
    MAX_SECONDS,
    MediaError,
    check_pixels,
)
from tcmax_jax.data.pictures import Box

# Seconds; absorbs rounding where a frame's time is compared with a computed time.
TIME_SLACK = 1e-6


def read_audio(
    path: str | os.PathLike, *, rate: int, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Decodes a file's first audio stream to mono, resamples it and cuts it to the sample.

    Sample i of the whole clip lies at i / `rate` seconds; the cut keeps
    round(`start` * `rate`) <= i < round(`end` * `rate`). A stream that begins late is led by zeros.

    Args:
      path: any file FFmpeg can read.
      rate: samples per second of the result, in Hz.
      start: begin of the cut in seconds; None is the begin of the clip.
      end: end of the cut in seconds; None is the end of the clip.

    Returns:
      float32 [samples], the mean of the channels; shorter than the cut where the clip ends first.

    Raises:
      MediaError: the file is missing, silent, broken, longer than `MAX_SECONDS`, or ends
        before the cut begins, or if the cut holds more than `MAX_SAMPLES`.
    """
    first = round((start or 0) * rate)
    last = None if end is None else round(end * rate)
    pieces, position = [], 0
    with opened(path, "audio") as (container, stream):
        for position, samples in _resampled(path, container, stream, rate):
            if last is not None and position >= last:
                break
            stop = len(samples) if last is None else min(last - position, len(samples))
            if position + stop - first > MAX_SAMPLES:
                raise _too_long(path, f"{MAX_SAMPLES} samples", "Name start and end of a part")
            if not pieces:
                pieces.append(np.zeros(max(position - first, 0), np.float32))
            pieces.append(samples[max(first - position, 0) : stop])
            position += len(samples)
    if not any(map(len, pieces[1:])):
        raise _nothing_inside(path, "sound", start, end, position / rate)
    return np.concatenate(pieces)


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
    end.

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
      MediaError: the file is missing, without pictures, broken, or ends before `start`, if
        its pictures change their size or are larger than `MAX_PIXELS`, or if there are more
        than `MAX_FRAMES`.
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


def _origin(container) -> float:
    """Seconds of the container's clock at which the clip begins, as players count it."""
    # Below zero lies only what the codec needs to start up.
    return max(container.start_time or 0, 0) / av.time_base


def _resampled(path, container, stream, rate: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields pieces of mono sound, each with the index of its first sample in the clip."""
    # Interleaved, since PyAV loses itself among the planes of eight channels and more.
    resampler = av.AudioResampler(format="flt", rate=rate)
    position = None
    for frame in itertools.chain(container.decode(stream), [None]):  # which flushes
        if position is None:
            begin = frame.time if frame else None
            # Only the first time stamp counts: the later ones are often rounded to milliseconds.
            position = 0 if begin is None else round((begin - _origin(container)) * rate)
        if frame:
            _check_sound(path, frame, position, rate)
        for piece in resampler.resample(frame):
            interleaved = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
            samples = np.ascontiguousarray(interleaved.T).mean(axis=0)
            yield position, samples
            position += len(samples)


def _check_sound(path, frame, position: int, rate: int) -> None:
    """Checks what would become of a frame of sound at a position, before it is resampled."""
    if frame.sample_rate > MAX_RATE:
        raise MediaError(
            "sampling rate too high",
            f"{path}: Expected at most {MAX_RATE} Hz, got {frame.sample_rate}. Re-encode the file.",
        )
    grown = frame.samples * rate / frame.sample_rate
    if position + grown > MAX_SECONDS * rate:
        raise _too_long(path, f"{MAX_SECONDS} s", "Cut it into shorter files")
    # At a low rate few samples become many, in each of the channels.
    if grown * frame.layout.nb_channels > MAX_SAMPLES:
        raise _too_long(path, f"{MAX_SAMPLES} samples a frame", "Re-encode the file")


def _shown_frames(path, count: int, start, end) -> Iterator[tuple]:
    """Yields (frame, frame before or None, frame after or None) at the times of `read_frames`."""
    begin = start or 0.0
    stop = _video_end(path) if end is None else end
    times = list(begin + (np.arange(count) + 0.5) * (stop - begin) / count)
    before = shown = None
    time = 0.0
    with opened(path, "video") as (container, stream):
        for frame in _bounded(path, container.decode(stream)):
            # Streams without time stamps are taken to run at their nominal rate.
            time = time if frame.time is None else frame.time - _origin(container)
            while shown and times and times[0] < time - TIME_SLACK:
                del times[0]
                yield shown, before, frame
            if not times:
                return
            before, shown = shown, frame
            time += _display_seconds(frame, stream)
        if shown is None or time <= begin:
            raise _nothing_inside(path, "frames", start, end, time)
        for _ in times:
            yield shown, before, None


def _bounded(path, frames: Iterator) -> Iterator:
    """Pass on frames, or packets of frames, as long as there are not too many."""
    for number, frame in enumerate(frames):
        if number == MAX_FRAMES:
            raise MediaError(
                "too many frames",
                f"{path}: Expected at most {MAX_FRAMES} frames, got more. Cut it into shorter "
                "files.",
            )
        yield frame


def _display_seconds(item, stream) -> float:
    """Seconds for which a frame, or the frame of a packet, is displayed."""
    if item.duration:
        return float(item.duration * item.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _video_end(path) -> float:
    """Seconds at which the last frame ends, from the packets: headers may say nothing or lie."""
    end = 0.0
    with opened(path, "video") as (container, stream):
        # The last packet holds no frame.
        packets = (packet for packet in container.demux(stream) if packet.size)
        for packet in _bounded(path, packets):
            stamp = packet.dts if packet.pts is None else packet.pts
            begin = end if stamp is None else float(stamp * packet.time_base) - _origin(container)
            end = max(end, begin + _display_seconds(packet, stream))
    return end


def _pictures(path, groups: Iterable[tuple], box: Box, short_side: int) -> list[tuple]:
    """Returns the pictures of groups of frames, which are decoded meanwhile; all of one size."""
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


def _picture(path, frame, box: Box, short_side: int) -> np.ndarray:
    """Crop a decoded frame to a relative box and resize it, uint8 [H, W, 3] RGB."""
    check_pixels(path, frame.width, frame.height)
    image = frame.to_ndarray(format="rgb24")
    height, width = image.shape[:2]
    left, top, right, bottom = np.rint(np.multiply(box, (width, height) * 2)).astype(int)
    left, top = min(left, width - 1), min(top, height - 1)
    image = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = short_side / min(image.shape[:2])
    height, width = (round(side * scale) for side in image.shape[:2])
    # A strip of one row becomes `short_side` times as long.
    check_pixels(f"{path}, resized", width, height)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _too_long(path, limit: str, remedy: str) -> MediaError:
    return MediaError(
        "sound too long", f"{path}: Expected sound of at most {limit}, got more. {remedy}."
    )


def _nothing_inside(path, what: str, start, end, clip_seconds: float) -> MediaError:
    until = "its end" if end is None else f"{end:g} s"
    return MediaError(
        f"no {what} in the cut",
        f"{path}: Expected {what} from {start or 0:g} s to {until}, got a clip of "
        f"{clip_seconds:.2f} s. Correct start and end.",
    )
