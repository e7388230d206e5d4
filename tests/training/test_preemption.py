"""SIGTERM outside of training stops at once; in training it waits for the end of a step."""

import os
import signal

import pytest

from tcmax_jax.training.preemption import PreemptedError, Preemption, stopping


def ask():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_stops_at_once_but_within_training_is_only_noted():
    with pytest.raises(PreemptedError, match=r"SIGTERM.*Run the same command again"), stopping():
        with Preemption() as preemption:
            assert not preemption.asked()
            ask()
            assert preemption.asked()
        ask()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
