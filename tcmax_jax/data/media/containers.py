"""Opening of media files with FFmpeg, without following references to other files."""

import contextlib
import os
import stat
from collections.abc import Iterator

import av
import cv2

from tcmax_jax.data import limits
from tcmax_jax.data.limits import MediaError, check_pixels
from tcmax_jax.data.media.declared import check_size

_ENOUGH_TO_TELL = 40
# Tags in a strange encoding are no reason to refuse a clip. From version 19 on PyAV keeps them, and
# has no such argument.
_ANY_TAGS = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
# The whitelist, on which nothing stands, keeps every format from opening other files and addresses.
_OPTIONS = _ANY_TAGS | {"container_options": {"protocol_whitelist": "none"}}
_BEGINNINGS = {
    b"version https://git-lfs": ("Git LFS pointer", "Fetch the files (git lfs pull)"),
    b"#EXTM3U": ("playlist", "Join what it lists into one file"),
    b"ffconcat": ("playlist", "Join what it lists into one file"),
}


@contextlib.contextmanager
def opened(path: str | os.PathLike, kind: str) -> Iterator[tuple]:
    """Opens a file's first stream of a kind; errors inside become MediaError.

    Args:
      path: any file FFmpeg can read, but lists of other files.
      kind: "audio" or "video".

    Yields:
      (container, stream).

    Raises:
      MediaError: the file is missing, holds no such stream, is broken, or its pictures are
        larger than `MAX_PIXELS`.
    """
    _check_beginning(path)
    # The decoder counts its borders too; the frames that come of it are checked again.
    bounds = {"max_pixels": str(2 * limits.MAX_PIXELS)}
    with (
        decoding(path, kind),
        # By its handle, so that no name is taken for a pattern or an address.
        open(path, "rb") as file,
        av.open(file, **_OPTIONS, options=bounds) as container,
    ):
        streams = [s for s in container.streams if s.type == kind and s.codec_context]
        if not streams:
            kinds = ", ".join(s.type for s in container.streams) or "no stream"
            raise MediaError(
                f"no {kind} stream",
                f"{path}: Expected a decodable {kind} stream, got {kinds}. Use another file.",
            )
        context = streams[0].codec_context
        if kind == "video":
            check_pixels(path, context.width, context.height)
        # Pictures may become larger within the stream.
        context.options = bounds
        # Files are decoded in parallel by processes, so one thread each is enough.
        context.thread_count = 1
        yield container, streams[0]


@contextlib.contextmanager
def decoding(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turns errors of the libraries into a MediaError that names the file."""
    try:
        yield
    except MediaError:
        raise
    except (av.FFmpegError, cv2.error, ValueError, OSError, MemoryError) as error:
        check_size(path)  # A part of a file ends within a frame.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(
            f"broken {kind}",
            f"{path}: Expected decodable {kind}, got '{reason}'. Re-encode or replace the file.",
        ) from error


def _check_beginning(path) -> None:
    try:
        # A pipe would wait for somebody to write into it.
        is_file, beginning = stat.S_ISREG(os.stat(path).st_mode), b""
        if is_file:
            with open(path, "rb") as file:
                beginning = file.read(_ENOUGH_TO_TELL)
    except PermissionError as error:
        raise MediaError(
            "unreadable file", f"{path}: Expected a media file, got '{error}'. Make it readable."
        ) from error
    # A name with a zero byte is a ValueError.
    except (OSError, ValueError) as error:
        raise MediaError(
            "missing file", f"{path}: Expected a media file, got none there. Correct the path."
        ) from error
    if not is_file:
        raise MediaError(
            "no file",
            f"{path}: Expected a media file, got a folder, pipe or device. Correct the path.",
        )
    for text, (kind, remedy) in _BEGINNINGS.items():
        if beginning.startswith(text):
            raise MediaError(kind, f"{path}: Expected a media file, got a {kind}. {remedy}.")
