"""Opening of media files, and what is refused of them before it can do harm.

Media files come from elsewhere. Nothing of theirs names another file that is opened, and what they
declare to be larger than any clip is refused before memory is taken for it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import av
import cv2

# Pixels of one picture, 8192 x 8192: twice the size of 8K video.
MAX_PIXELS = 2**26
# Pictures of one stream, 38 hours at 30 a second.
MAX_FRAMES = 2**22
# Length of one stream of sound, 36 hours.
MAX_SECONDS = 2**17
# Samples a second that a file of sound declares; sound cards end at 768 kHz.
MAX_RATE = 2**20
# Samples of sound that are held at once, 3.4 hours at 22050 Hz; 1 GiB as float32.
MAX_SAMPLES = 2**28

_ENOUGH_TO_TELL = 40
_BEGINNINGS = {
    b"version https://git-lfs": ("Git LFS pointer", "fetch the files (git lfs pull)"),
    b"#EXTM3U": ("playlist", "join what it lists into one file"),
    b"ffconcat": ("playlist", "join what it lists into one file"),
}


class MediaError(ValueError):
    """A media file that does not hold what was asked of it.

    Attributes:
        reason: Why, in a few words that are the same for all files of the same fault.
    """

    def __init__(self, reason: str, message: str):
        """Takes the reason, and the message that names the file."""
        super().__init__(message)
        self.reason = reason

    def __reduce__(self):
        """Lets it cross from one process to another."""
        return MediaError, (self.reason, str(self))


@contextlib.contextmanager
def opened(path: str | os.PathLike, kind: str) -> Iterator[tuple]:
    """Open a file's first stream of a kind; errors inside become MediaError.

    Args:
        path: Any file FFmpeg can read, but lists of other files.
        kind: "audio" or "video".

    Yields:
        (container, stream).

    Raises:
        MediaError: If the file is missing, holds no such stream, is broken, or its pictures are
            larger than `MAX_PIXELS`.
    """
    _check_beginning(path)
    # The decoder counts its borders too; the frames that come of it are checked again.
    limits = {"max_pixels": str(2 * MAX_PIXELS)}
    with (
        decoding(path, kind),
        # By its handle: so no name is taken for a pattern or an address, and the whitelist, on
        # which nothing stands, keeps every format from opening other files and addresses.
        open(path, "rb") as file,
        av.open(
            file,
            # Tags in a strange encoding are no reason to refuse a clip.
            metadata_errors="replace",
            container_options={"protocol_whitelist": "none"},
            options=limits,
        ) as container,
    ):
        streams = [s for s in container.streams if s.type == kind and s.codec_context]
        if not streams:
            found = ", ".join(s.type for s in container.streams) or "no stream"
            raise MediaError(
                f"no {kind} stream",
                f"{path}: expected a decodable {kind} stream, got {found}; use another file",
            )
        context = streams[0].codec_context
        if kind == "video":
            check_pixels(path, context.width, context.height)
        # Pictures may become larger within the stream.
        context.options = limits
        # Files are decoded in parallel by processes, so one thread each is enough.
        context.thread_count = 1
        yield container, streams[0]


@contextlib.contextmanager
def decoding(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turn what the libraries raise inside into a MediaError that names the file."""
    try:
        yield
    except MediaError:
        raise
    except (av.FFmpegError, cv2.error, ValueError, OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(
            f"broken {kind}",
            f"{path}: expected decodable {kind}, got '{reason}'; re-encode or replace the file",
        ) from error


def check_pixels(source, width: int, height: int) -> None:
    """Check the size of a picture.

    Args:
        source: The file, or what else the picture is of, for messages.
        width: Of the picture.
        height: Of the picture.

    Raises:
        MediaError: If it has more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise MediaError(
            "picture too large",
            f"{source}: expected pictures of at most {MAX_PIXELS} pixels, got {width} x {height}; "
            "re-encode the file with smaller ones",
        )


def _check_beginning(path) -> None:
    try:
        with open(path, "rb") as file:
            beginning = file.read(_ENOUGH_TO_TELL)
    # A name with a zero byte is a ValueError.
    except (OSError, ValueError) as error:
        if not _is_file(path):
            raise MediaError(
                "missing file", f"{path}: expected a media file, got none there; correct the path"
            ) from error
        raise MediaError(
            "unreadable file", f"{path}: expected a media file, got '{error}'; make it readable"
        ) from error
    for text, (found, remedy) in _BEGINNINGS.items():
        if beginning.startswith(text):
            raise MediaError(found, f"{path}: expected a media file, got a {found}; {remedy}")


def _is_file(path) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # Names that are too long.
        return False
