"""Room on disks and in shared memory, looked at before the work that needs it."""

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
    """Returns the path if it is there, and otherwise the nearest one above that is."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def lacking(path: Path, needed: int) -> str | None:
    """Returns how much is free for a path, and how much is needed; None where that fits."""
    free = shutil.disk_usage(nearest(path)).free
    if free >= needed:
        return None
    return f"{size_text(free)} of free space where {size_text(needed)} are needed"


def is_full(error: BaseException) -> bool:
    """Returns whether an error comes of a full disk, of whatever library it is."""
    return getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Lets errors of the system in its block name the file, where Python's own do not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
