"""Sound of media files as mono samples at their times in the clip."""

import itertools
import math
import os
from collections.abc import Iterator

import av
import numpy as np

from tcmax_jax.data import limits
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media.containers import opened
from tcmax_jax.data.media.declared import check_complete, format_of, nothing_inside, origin

# Seconds by which time stamps may differ from the number of samples before them. Containers round
# them to milliseconds, and the shortest packets that get lost last 20.
STAMP_SLACK = 0.01
# Seconds by which sounds may overlap; stamps that go back further are not believed.
_MOST_OVERLAP = 1.0
# Samples, of the stream and of the result, within which the resampling filter has settled.
_SETTLED = 256
# Formats and codecs in which any sample is found by its number, and is decoded by itself.
_SEEKABLE = {"wav", "w64", "aiff", "au", "caf", "flac"}
_WITHOUT_MEMORY = ("pcm_", "flac")


def read_audio(
    path: str | os.PathLike, *, rate: int, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Decodes a file's first audio stream to mono, resamples it and cuts it to the exact sample.

    Sample i of the whole clip lies at i / `rate` seconds; the cut keeps
    round(`start` * `rate`) <= i < round(`end` * `rate`). It is the same as that part of the whole,
    however late it begins. Sounds stay within `STAMP_SLACK` seconds of their time stamps: where
    nothing is recorded there are zeros, and of sounds that overlap the later one begins later.

    Args:
      path: any file FFmpeg can read.
      rate: samples per second of the result, in Hz.
      start: begin of the cut in seconds; None is the begin of the clip.
      end: end of the cut in seconds; None is the end of the clip.

    Returns:
      float32 [samples], the mean of the channels; shorter than the cut where the clip ends first.

    Raises:
      MediaError: the file is missing, silent, broken, part of a file, longer than `MAX_SECONDS`, or
        ends before the cut begins, or if the cut holds more than `MAX_SAMPLES`, or samples that are
        not finite or beyond `MAX_LEVEL`.
    """
    first = round((start or 0) * rate)
    last = None if end is None else round(end * rate)
    pieces, position, held = [], first, 0
    with opened(path, "audio") as (container, stream):
        for begin, samples in _sound(path, container, stream, rate, first):
            held = max(held, begin + len(samples))
            stop = held if last is None else min(held, last)
            if stop - first > limits.MAX_SAMPLES:
                limit = f"{limits.MAX_SAMPLES} samples"
                raise _too_long(path, limit, "Name start and end of a part")
            if last is not None and begin >= last:
                pieces.append(np.zeros(last - position, np.float32))
                break
            if stop > position:
                kept = samples[max(position - begin, 0) : stop - begin]
                _check_level(path, kept, stop - len(kept), rate)
                pieces += [np.zeros(max(begin - position, 0), np.float32), kept]
                position = stop
        else:
            check_complete(path, container, stream, held / rate)
    if not pieces:
        raise nothing_inside(path, "sound", start, end, held / rate)
    return np.concatenate(pieces)


def _sound(path, container, stream, rate: int, first: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields pieces of mono sound, each with the index of its first sample in the clip.

    Pieces may leave gaps, and may overlap; the last one is empty. What lies before the index
    `first` may be left out.
    """
    zero, run = origin(container), None
    sought = _seek(container, stream, rate, first)
    for frame, after in itertools.pairwise(itertools.chain(container.decode(stream), [None])):
        stamp = None if frame.time is None else frame.time - zero
        if run is None:
            begin = stamp or 0.0
            before = round(begin * frame.sample_rate) if sought else 0
            run = _Run(frame, 0.0 if sought else begin, rate, first, before)
        else:
            jumps = _jumps(run.end, frame, after, zero)
            if jumps or not run.fits(frame):
                yield from run.push(None)
                run = _Run(frame, stamp if jumps else run.end, rate, first)
        _check_sound(path, frame, run.end, rate)
        yield from run.push(frame)
    if run is not None:
        yield from run.push(None)
        yield round(run.end * rate), np.zeros(0, np.float32)  # where it ends


def _jumps(end: float, frame, after, zero: float) -> bool:
    """Returns whether a frame does not start where the one before it ended.

    The next one has to agree: some containers, such as Ogg, are wrong about single frames.
    """
    if frame.time is None:
        return False
    late = frame.time - zero - end
    if not (late > STAMP_SLACK or -_MOST_OVERLAP < late < -STAMP_SLACK):
        return False
    if after is None or after.time is None:
        return True
    end_then = frame.time + frame.samples / frame.sample_rate
    return abs(after.time - end_then) <= STAMP_SLACK


def _seek(container, stream, rate: int, first: int) -> bool:
    """Seeks to where decoding has to start for a cut; returns whether that is possible."""
    context, per_second = stream.codec_context, stream.codec_context.sample_rate
    known = format_of(container) in _SEEKABLE and context.name.startswith(_WITHOUT_MEMORY)
    if not known or stream.start_time or stream.time_base * per_second != 1:
        return False
    needed = _periods(per_second, rate, first) * _period(per_second, rate)[0]
    if not needed:
        return False
    container.seek(needed, stream=stream)
    lands = next(container.demux(stream)).pts
    container.seek(needed if lands is not None and lands <= needed else 0, stream=stream)
    return True


def _period(per_second: int, rate: int) -> tuple[int, int]:
    """Returns the numbers of samples of stream and result in their shortest common time."""
    common = math.gcd(per_second, rate)
    return per_second // common, rate // common


def _periods(per_second: int, rate: int, first: int) -> int:
    """Returns how many common periods can be skipped before a sample of the result.

    The resampler is then in the phase in which it would be, had it begun with the stream, and
    begins early enough to forget that it did not.
    """
    taken, given = _period(per_second, rate)
    return max((first - given * math.ceil(_SETTLED / min(taken, given))) // given, 0)


class _Run:
    """Consecutive sound of one format: samples are counted from its start and resampled."""

    def __init__(self, frame, begin: float, rate: int, first: int, count: int = 0):
        """Takes a frame, start of the run, rate and first sample wanted, samples before it."""
        self._format = _format(frame)
        self._begin, self._rate, self._count = begin, frame.sample_rate, count
        position = round(begin * rate)
        periods = _periods(self._rate, rate, first - position)
        taken, given = _period(self._rate, rate)
        self._needed, self._position = periods * taken, position + periods * given
        # Interleaved, since PyAV loses itself among the planes of eight channels and more.
        self._resampler = av.AudioResampler(format="flt", rate=rate)

    @property
    def end(self) -> float:
        """Time in the clip at which it ends so far, in seconds."""
        return self._begin + self._count / self._rate

    def fits(self, frame) -> bool:
        """Returns whether a frame has the format of the run."""
        return _format(frame) == self._format

    def push(self, frame) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the resampled sound of one more frame; with None, what the resampler holds."""
        if frame is not None:
            early = min(self._needed - self._count, frame.samples)
            self._count += frame.samples
            if early == frame.samples:
                return
            frame = _without(frame, early) if early > 0 else frame
        elif self._count <= self._needed:
            return  # It has got none.
        for piece in self._resampler.resample(frame):
            interleaved = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
            samples = np.ascontiguousarray(interleaved.T).mean(axis=0)
            yield self._position, samples
            self._position += len(samples)


def _format(frame) -> tuple:
    return frame.sample_rate, frame.format.name, frame.layout.name, frame.layout.nb_channels


def _without(frame, samples: int):
    """Returns a frame of sound without its first samples."""
    channels = 1 if frame.format.is_planar else frame.layout.nb_channels
    array = np.ascontiguousarray(frame.to_ndarray()[:, samples * channels :])
    rest = av.AudioFrame.from_ndarray(array, format=frame.format.name, layout=frame.layout)
    rest.sample_rate = frame.sample_rate
    return rest


def _check_sound(path, frame, begin: float, rate: int) -> None:
    """Checks a frame of sound and its time before it is resampled."""
    if frame.sample_rate > limits.MAX_RATE:
        raise MediaError(
            "sampling rate too high",
            f"{path}: Expected at most {limits.MAX_RATE} Hz, got {frame.sample_rate}. Re-encode "
            "the file.",
        )
    seconds = frame.samples / frame.sample_rate
    if begin + seconds > limits.MAX_SECONDS:
        raise _too_long(path, f"{limits.MAX_SECONDS} s", "Cut it into shorter files")
    # At a low rate few samples become many, in each of the channels.
    if seconds * rate * frame.layout.nb_channels > limits.MAX_SAMPLES:
        raise _too_long(path, f"{limits.MAX_SAMPLES} samples a frame", "Re-encode the file")


def _check_level(path, samples: np.ndarray, begin: int, rate: int) -> None:
    """Raises MediaError where samples are not finite, or far beyond full scale."""
    fine = np.abs(samples) <= limits.MAX_LEVEL  # False of NaN
    if not fine.all():
        at = int(np.argmin(fine))
        raise MediaError(
            "samples that are no sound",
            f"{path}: Expected finite samples, of full scale 1 and at most {limits.MAX_LEVEL}, got "
            f"{samples[at]:g} at {(begin + at) / rate:.3f} s. Re-encode or replace the file.",
        )


def _too_long(path, limit: str, remedy: str) -> MediaError:
    return MediaError(
        "sound too long", f"{path}: Expected sound of at most {limit}, got more. {remedy}."
    )
