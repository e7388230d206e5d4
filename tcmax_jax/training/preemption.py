"""Machines that are taken away: a run that is asked to stop (SIGTERM) saves first."""

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
    """This process was asked to stop, and what it has done is saved."""


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Raises PreemptedError in the block, wherever it is, when SIGTERM comes.

    All that a command writes is whole or not there, and is gone on with. With several processes
    JAX notes the signal instead, for the next `Preemption`.
    """

    def stop(*_):
        raise PreemptedError("Asked to stop (SIGTERM). Run the same command again to continue.")

    with _handling(stop):
        yield


class Preemption:
    """Lets steps of training end before a run stops; a context manager.

    With several processes the signal may reach only one of them: all stop after the same step.

    Attributes:
      signalled: whether SIGTERM came to this process alone, which needs to agree with no other.
    """

    def __init__(self):
        """Nothing was asked yet."""
        self.signalled = False
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        """Listens, unless JAX does so for all processes."""
        self._stack.enter_context(_handling(self._note))
        return self

    def __exit__(self, *exception):
        """Leaves the signal to whoever had it before."""
        self._stack.close()

    def asked(self) -> bool:
        """Returns whether to stop now; every process has to ask after every step."""
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
