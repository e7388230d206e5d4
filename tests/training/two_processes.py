"""Several processes that train the runs of test_processes.py, each on two fake devices.

python -m tests.training.two_processes PORT FOLDER NAME...

Prints how each of them ended, and leaves in FOLDER what each said to standard error. The run named
blind goes on from a copy of the first, of which the second process fails to read the latest
checkpoint, step 8.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from jax.experimental import multihost_utils

from tcmax_jax.training import loop, processes
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.checkpoint_reader import DamagedError
from tcmax_jax.training.config import Config
from tcmax_jax.training.programs import shared_programs
from tests.training.tiny import tiny_config

COUNT = 2
BLIND = "blind"
RUNS = {
    "additive": {},
    "sampled": {
        "model__fusion": "gated", "method__num_negatives": 50, "training__parallel": "shard_map",
    },
    "pmr": {"method__kind": "pmr"},
}  # fmt: skip


def config_of(name: str) -> Config:
    """Returns the configuration of a run."""
    return tiny_config(training__epochs=2, training__probe="false", **RUNS[name])


def lose_sight_of(step):
    """Lets this process fail to read a checkpoint, once."""
    original = Checkpoints._read

    def read(self, number, target=None):
        if number == step:
            Checkpoints._read = original
            raise DamagedError(f"the checkpoint {step} is damaged (a test)")
        return original(self, number, target)

    Checkpoints._read = read


def go_on_blindly(index, folder):
    """Goes on from a copy, in which the second process does not see the latest checkpoint."""
    if index == 0:
        shutil.copytree(folder / "additive", folder / BLIND)
    multihost_utils.sync_global_devices("copied")
    if index == 1:
        lose_sight_of(8)
    loop.train(config_of("additive"), folder / BLIND, str(folder / "data"))


def train(port, index, folder, names):
    """Joins the other process and trains."""
    processes.join(f"localhost:{port}", COUNT, index)
    with shared_programs():
        for name in names:
            if name == BLIND:
                go_on_blindly(index, folder)
            else:
                loop.train(config_of(name), folder / name, str(folder / "data"))


def main(port, folder, *names):
    """Forks both processes, since importing takes much of their time, and waits for them."""
    children = []
    for index in range(COUNT):
        children.append(os.fork())
        if children[-1] == 0:
            with (Path(folder) / f"errors{index}.txt").open("w") as errors:
                os.dup2(errors.fileno(), sys.stderr.fileno())
            train(port, index, Path(folder), names)
            return
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(codes))


if __name__ == "__main__":
    main(*sys.argv[1:])
