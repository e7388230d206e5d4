"""Free space on disks and in shared memory, checked before the work that needs it."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

_GB = 10**9


def size_text(size: float) -> str:
    """Returns a number of bytes as text."""
    return f"{size / _GB:.1f} GB" if size >= _GB else f"{size / 10**6:.1f} MB"


def nearest(path: Path) -> Path:
    """Returns the path if it exists, and otherwise its nearest existing parent."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def lacking(path: Path, needed: int) -> str | None:
    """Returns a text on the free and the needed space for a path; None if there is enough."""
    free = shutil.disk_usage(nearest(path)).free
    if free >= needed:
        return None
    return f"{size_text(free)} of free space where {size_text(needed)} are needed"


def is_full(error: BaseException) -> bool:
    """Returns whether an error is due to a full disk, whatever library raised it."""
    return getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Adds the file's name to system errors in its block that lack it."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
