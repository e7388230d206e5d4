"""Decoding of manifest rows, in this process or in others.

Worker processes import this module, so it must stay free of JAX and TensorFlow Datasets.
"""

import collections
import concurrent.futures
import functools
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import numpy as np

from tcmax_jax.data.builders.manifest.settings import ManifestSettings
from tcmax_jax.data.features import log_spectrogram
from tcmax_jax.data.manifest import Row
from tcmax_jax.data.media import MediaError, encode_image, fit_length, read_audio, read_frames

# Enough that no process waits while the results of others are written.
ROWS_AHEAD_PER_PROCESS = 8


class Decoded(NamedTuple):
    """A row's content.

    Attributes:
        audio: float16 [n_fft // 2 + 1, 1 + samples // hop] log-spectrogram.
        visual: JPEG bytes of each frame.
        seconds: Length of the row's sound before it was brought to the stored length.
    """

    audio: np.ndarray
    visual: list[bytes]
    seconds: float


def decode_row(settings: ManifestSettings, row: Row) -> Decoded | MediaError:
    """Decode one row; an error of its media is returned, not raised."""
    cut = {"start": row.start, "end": row.end}
    try:
        audio = read_audio(row.audio, rate=settings.rate, **cut)
        frames = read_frames(
            row.video,
            count=settings.frames,
            short_side=settings.short_side,
            box=settings.box,
            **cut,
        )
    except MediaError as error:
        return error
    fitted = fit_length(audio, settings.samples, settings.fill)
    spectrogram = log_spectrogram(fitted, n_fft=settings.n_fft, hop=settings.hop)
    return Decoded(
        audio=spectrogram.astype(np.float16),
        visual=[encode_image(frame) for frame in frames],
        seconds=len(audio) / settings.rate,
    )


def decode_rows(
    settings: ManifestSettings, rows: Sequence[Row]
) -> Iterator[tuple[Row, Decoded | MediaError]]:
    """Decode rows with `settings.processes` processes; the order is kept and memory is bounded.

    Args:
        settings: Form of the data set.
        rows: Rows of the manifest.

    Yields:
        Each row with its content or the error that its media gave.

    Raises:
        RuntimeError: If a process died.
    """
    decode = functools.partial(decode_row, settings)
    processes = min(settings.processes or os.cpu_count() or 1, len(rows))
    if processes <= 1:
        yield from zip(rows, map(decode, rows), strict=True)
        return
    # Spawned, because a fork of a process that runs JAX's threads may hang.
    context = multiprocessing.get_context("spawn")
    line = rows[0].number
    try:
        with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
            for row, decoded in _in_order(pool, decode, rows, processes * ROWS_AHEAD_PER_PROCESS):
                line = row.number
                yield row, decoded
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"expected decoded rows, got a decoding process that died soon after line {line}; look "
            "at the files there, or use fewer processes if memory ran out"
        ) from error


def _in_order(pool, decode, rows: Sequence[Row], ahead: int) -> Iterator[tuple]:
    """Map in a pool, submitting no more than `ahead` rows before their results are taken."""
    pending = collections.deque()
    for row in rows:
        if len(pending) == ahead:
            done, future = pending.popleft()
            yield done, future.result()
        pending.append((row, pool.submit(decode, row)))
    for done, future in pending:
        yield done, future.result()
