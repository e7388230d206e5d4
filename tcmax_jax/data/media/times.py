"""Display times of the frames of a video, in seconds of the clip's own time."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import av

from tcmax_jax.data import limits
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media.containers import opened
from tcmax_jax.data.media.declared import (
    check_complete,
    declared_end,
    format_of,
    nothing_inside,
    origin,
)
from tcmax_jax.data.media.orientation import Orientation, orientation_of

# Formats with an index of the frames that are decoded by themselves.
_SEEKABLE = {"mov", "matroska"}
# Seconds: cuts that begin later are sought, and from how much earlier.
_LATE, _EARLIER = 5.0, 1.0
# Seconds by which time stamps may go back; such frames come at once.
_MOST_BACK = 1.0


class Shown(NamedTuple):
    """A displayed frame.

    Attributes:
      frame: the decoded frame.
      seconds: when it comes on display.
      orientation: how it is turned and stretched.
    """

    frame: av.VideoFrame
    seconds: float
    orientation: Orientation


def frames_from(path, begin: float, end: float | None) -> Iterator[Shown]:
    """Yields frames in the order of display.

    Args:
      path: the file.
      begin: seconds; earlier frames may be left out, but not the one on display then, nor the one
        before it.
      end: seconds at which the cut ends, for messages.

    Raises:
      MediaError: the file is broken or part of a file, or ends before `begin`.
    """
    for seeks in (True, False) if begin > _LATE else (False,):
        with opened(path, "video") as (container, stream):
            if seeks and not _seek(container, stream, begin):
                continue
            frames = _timed(path, container, stream)
            first = list(itertools.islice(frames, 2))
            if seeks and not (len(first) == 2 and first[0][0].key_frame and first[1][1] <= begin):
                continue
            stop = 0.0
            if first:
                orientation = orientation_of(path, container, stream, first[0][0])
                for frame, time in itertools.chain(first, frames):
                    yield Shown(frame, time, orientation)
                stop = time + _display_seconds(frame, stream)
            check_complete(path, container, stream, stop)
            if stop <= begin:
                raise nothing_inside(path, "frames", begin, end, stop)
            return


def video_end(path) -> float:
    """Returns the time at which the last frame ends, in seconds, without decoding.

    It ends where the stream ends by its own header. Where that says nothing, or does not reach the
    last frame, it ends after the duration of the packet: of frames that are not stored in the order
    of display that is often another one's.

    Raises:
      MediaError: the file is broken or part of a file.
    """
    last = end = 0.0
    with opened(path, "video") as (container, stream):
        for packet in _bounded(path, container.demux(stream)):
            if not packet.size or packet.is_discard:
                continue  # The last one holds no frame.
            stamp = None if _keeps_no_times(container) else packet.pts
            stamp = packet.dts if stamp is None else stamp
            begin = end if stamp is None else float(stamp * packet.time_base) - origin(container)
            if begin >= last:
                # What AVI calls a duration may be a part of it.
                least = begin - last if _keeps_no_times(container) else 0.0
                last, end = begin, begin + max(_display_seconds(packet, stream), least)
        check_complete(path, container, stream, end)
        declared = declared_end(container, stream)
    return end if declared is None or declared <= last else declared


def _seek(container, stream, begin: float) -> bool:
    """Seeks to a keyframe before a time; returns whether that is possible."""
    if format_of(container) not in _SEEKABLE:
        return False
    seconds = begin - _EARLIER + origin(container)
    container.seek(int(seconds / stream.time_base), stream=stream)
    return True


def _timed(path, container, stream) -> Iterator[tuple]:
    """Yields (frame, seconds) of what is decoded from here on."""
    zero, time, step = origin(container), 0.0, 0.0
    for frame, stamp in _stamped(path, container, stream):
        # Streams without time stamps are taken to run at their nominal rate.
        now = time + step if stamp is None else float(stamp * frame.time_base) - zero
        if time - now > _MOST_BACK:
            raise MediaError(
                "time stamps that go back",
                f"{path}: Expected frames one after the other, got one of {now:.2f} s after "
                f"{time:.2f} s. Cut the file there, or re-encode it.",
            )
        gap, time = now - time, max(now, time)
        step = gap if step and gap > 0 else _display_seconds(frame, stream)
        yield frame, time


def _stamped(path, container, stream) -> Iterator[tuple]:
    """Yields (frame, its display time in units of its time base, None where unknown)."""
    first = lag = None
    for packet in _bounded(path, container.demux(stream)):
        first = packet.dts if first is None else first
        for frame in packet.decode():
            if not _keeps_no_times(container):
                yield frame, frame.pts
            elif frame.dts is None or first is None:
                yield frame, None
            else:
                # Frames come later than their packets by what the decoder holds back.
                lag = frame.dts - first if lag is None else lag
                yield frame, frame.dts - lag


def _keeps_no_times(container) -> bool:
    """Returns whether a format stores decoding times but no display times."""
    return format_of(container) == "avi"


def _bounded(path, packets: Iterator) -> Iterator:
    """Passes packets on; raises MediaError after more than `MAX_FRAMES`."""
    for number, packet in enumerate(packets):
        if number > limits.MAX_FRAMES:  # The last one holds no frame.
            raise MediaError(
                "too many frames",
                f"{path}: Expected at most {limits.MAX_FRAMES} frames, got more. Cut it into "
                "shorter files.",
            )
        yield packet


def _display_seconds(item, stream) -> float:
    """Seconds for which a frame, or the frame of a packet, is displayed."""
    if item.duration:
        return float(item.duration * item.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0
