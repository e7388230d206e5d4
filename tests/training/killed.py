"""A run that kills itself (SIGKILL) at the n-th time it comes to a certain place.

python -m tests.training.killed WORKDIR DATA_DIR PLACE TIMES
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


if __name__ == "__main__":
    workdir, data_dir, *where = sys.argv[1:]
    if where:
        kill_at(where[0], int(where[1]))
    loop.train(config(), Path(workdir), data_dir)
