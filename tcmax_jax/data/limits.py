"""Limits on media files, checked before memory is allocated, and their error messages.

Media files may come from anywhere. What a file declares beyond the size of any real clip is refused
before memory is allocated for it.
"""

# Pixels of one picture, 8192 x 8192: twice the size of 8K video.
MAX_PIXELS = 2**26
# Pictures of one stream, 38 hours at 30 a second.
MAX_FRAMES = 2**22
# Length of one stream of sound, 36 hours.
MAX_SECONDS = 2**17
# Samples a second that a file of sound declares; sound cards end at 768 kHz.
MAX_RATE = 2**20
# Level of a sample of sound; full scale is 1, of whole numbers that were taken for floats 2^31.
MAX_LEVEL = 2**32
# Samples of sound that are held at once, 3.4 hours at 22050 Hz; 1 GiB as float32.
MAX_SAMPLES = 2**28


class MediaError(ValueError):
    """A media file that does not hold what was requested.

    Attributes:
      reason: why, in a few words that are the same for all files of the same fault.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason

    def __reduce__(self):
        # It crosses from one process to another.
        return MediaError, (self.reason, str(self))


def check_pixels(source, width: int, height: int) -> None:
    """Raises MediaError where a picture has more than `MAX_PIXELS`; `source` names it."""
    if width * height > MAX_PIXELS:
        raise MediaError(
            "picture too large",
            f"{source}: Expected pictures of at most {MAX_PIXELS} pixels, got {width} x {height}. "
            "Re-encode the file with smaller ones.",
        )
