"""Machines that are taken away: a run that is asked to stop (SIGTERM) saves first."""

import signal
import threading

import jax
from jax.experimental import multihost_utils


class PreemptedError(Exception):
    """A run was asked to stop, and has saved its state."""


class Preemption:
    """Knows whether SIGTERM came; a context manager.

    With several processes the signal may reach only one of them: all stop after the same step.
    """

    def __init__(self):
        """Nothing was asked yet."""
        self._asked = False
        self._previous = None

    def __enter__(self):
        """Listens, unless JAX does so for all processes."""
        listens = threading.current_thread() is threading.main_thread()
        if listens and not jax.distributed.is_initialized():
            self._previous = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *exception):
        """Leaves the signal to whoever had it before."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def asked(self, step: int) -> bool:
        """Returns whether to stop after this step; every process has to ask after every step."""
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    def _ask(self, *_):
        self._asked = True
