"""Locks on files, which end with the process that holds them, however it ends."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from tcmax_jax.training.processes import say


class LockedError(Exception):
    """Another process holds a lock; the message says which."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Holds the lock of a file, which is made unless it is there.

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
            say(f"warning: {path} cannot be locked ({error.strerror}): start nothing else there.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


def holder(path: Path) -> str | None:
    """Returns which process holds the lock of a file, None if nobody does."""
    try:
        with path.open() as file:
            # Shared, so that two who look do not see each other.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return path.read_text().strip() or "unknown"
    except OSError:
        return None
    return None
