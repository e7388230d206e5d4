"""Locks on files, which end with the process that holds them, however it ends."""

import contextlib
import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tcmax_jax.training.processes import say


class LockedError(Exception):
    """Another process holds a lock; the message says which."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Holds the lock of a file, which is created if needed.

    Args:
      path: the file; it then names the process that holds the lock.
      wait: whether to wait for another process that holds it.

    Raises:
      LockedError: another process holds it, and `wait` is off.
      OSError: the file cannot be written.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise LockedError(file.read().strip()) from None
        except OSError as error:  # File systems of clusters need not have locks.
            say(
                f"warning: {path} cannot be locked ({error.strerror}): make sure that no other "
                "process uses it."
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


def holder(path: Path) -> str | None:
    """Returns which process holds the lock of a file, None if none does."""
    try:
        with path.open() as file:
            # Shared, so that two who look do not see each other.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return path.read_text().strip() or "unknown"
    except OSError:
        return None
    return None


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Creates a folder that is removed after the block, or after a crash by the next call.

    Its lock, a file beside it, is there before it and says whether its process is alive.

    Args:
      parent: where it lies.
      prefix: what its name begins with.
    """
    for folder in filter(Path.is_dir, parent.glob(f"{prefix}*")):
        lock = folder.with_suffix(".lock")
        if _left(lock):
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=parent, prefix=prefix, suffix=".lock") as file:
        with contextlib.suppress(OSError):  # Without locks nothing is taken for left.
            fcntl.flock(file, fcntl.LOCK_EX)
        folder = Path(file.name).with_suffix("")
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _left(lock: Path) -> bool:
    """Returns whether a lock is free; False where that is unknown."""
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
