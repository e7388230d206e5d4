"""A run that kills itself (SIGKILL) at the n-th time it comes to a certain place.

python -m tests.training.killed WORKDIR DATA_DIR [PLACE TIMES]...

With several places it is started again after each death, and ends well if it has died in all.
Without any it goes to its end.
"""

import os
import signal
import sys
from pathlib import Path

import orbax.checkpoint as ocp
import tensorflow_datasets as tfds

from tcmax_jax.training import fit, loop, passes
from tests.training.tiny import tiny_config

EPOCHS = 4
PLACES = {
    # Where a call is about to happen: an object and the name of its function.
    "preparation": (tfds.core.writer.Writer, "write"),
    "step": (fit, "used_memory"),
    "evaluation": (passes, "evaluate_split"),
    "checkpoint write": (ocp.StandardCheckpointHandler, "async_save"),
    "checkpoint end": (ocp.StandardCheckpointHandler, "finalize"),
}


def config():
    """Returns a run with checkpoints in the middle of epochs as well."""
    return tiny_config(training__epochs=EPOCHS, training__checkpoint_every=3)


def kill_at(place, times):
    """Lets the process be killed when the place is reached for the n-th time."""
    owner, name = PLACES[place]
    original, reached = getattr(owner, name), [0]

    def function(*args, **kwargs):
        reached[0] += 1
        if reached[0] == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, function)


def check_death(workdir, data_dir, place, times):
    """Trains until the place in a fork of this process, since importing takes most of the time."""
    child = os.fork()
    if child == 0:
        kill_at(place, times)
        loop.train(config(), workdir, data_dir)
        sys.exit()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != -signal.SIGKILL or (workdir / "results.json").exists():
        sys.exit(f"{place}: the run was to be killed there, and ended with {code}")


if __name__ == "__main__":
    workdir, data_dir, *where = sys.argv[1:]
    for place, times in zip(where[::2], where[1::2], strict=True):
        check_death(Path(workdir), data_dir, place, int(times))
    if not where:
        loop.train(config(), Path(workdir), data_dir)
