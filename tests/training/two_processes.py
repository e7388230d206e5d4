"""One of several processes that train the runs of test_processes.py, each on two fake devices.

python -m tests.training.two_processes PORT INDEX FOLDER [--blind] NAME...

With --blind the second process fails to read the latest checkpoint, step 8.
"""

import sys
from pathlib import Path

from tcmax_jax.training import loop, processes
from tcmax_jax.training.checkpoint import Checkpoints, _DamagedError
from tcmax_jax.training.config import Config
from tests.training.tiny import tiny_config

COUNT = 2
RUNS = {
    "additive": {},
    "exhaustive": {"model__fusion": "gated", "training__parallel": "shard_map"},
    "sampled": {"model__fusion": "gated", "method__num_negatives": 50},
    "ogm_ge": {"method__kind": "ogm_ge", "model__fusion": "share_head"},
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
            raise _DamagedError(f"the checkpoint {step} is damaged (a test)")
        return original(self, number, target)

    Checkpoints._read = read


def main(port, index, folder, *names):
    """Joins the other process and trains."""
    processes.join(f"localhost:{port}", COUNT, int(index))
    if names[0] == "--blind":
        names = names[1:]
        if int(index) == 1:
            lose_sight_of(8)
    for name in names:
        loop.train(config_of(name), Path(folder) / name, str(Path(folder) / "data"))


if __name__ == "__main__":
    main(*sys.argv[1:])
