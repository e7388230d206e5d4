"""Preemption: a run that receives SIGTERM saves a checkpoint and stops."""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

# Of all runs of this process: JAX's agreement on where to stop needs numbers that only rise.
_numbers = itertools.count(1)


class PreemptedError(Exception):
    """This process was asked to stop, and has saved its work."""


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Raises PreemptedError in the block when SIGTERM arrives.

    All that a command writes is whole or not there, and is gone on with. With several processes
    JAX notes the signal instead, for the next `Preemption`.
    """

    def stop(*_):
        raise PreemptedError("Asked to stop (SIGTERM). Run the same command again to continue.")

    with _handling(stop):
        yield


class Preemption:
    """Lets the current steps of training end before a run stops; a context manager.

    With several processes the signal may reach only one of them: all stop after the same step.

    Attributes:
      signalled: whether SIGTERM came to this process alone, which needs to agree with no other.
    """

    def __init__(self):
        """Starts without a request."""
        self.signalled = False
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        """Handles SIGTERM, unless JAX does so for all processes."""
        self._stack.enter_context(_handling(self._note))
        return self

    def __exit__(self, *exception):
        """Restores the previous handler."""
        self._stack.close()

    def asked(self) -> bool:
        """Returns whether to stop now; every process has to call it after every step."""
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(next(_numbers))
        return self.signalled

    def _note(self, *_):
        self.signalled = True


@contextlib.contextmanager
def _handling(handler):
    listens = threading.current_thread() is threading.main_thread()
    if not listens or jax.distributed.is_initialized():
        yield
        return
    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
