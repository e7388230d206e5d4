"""A run that is killed and started again ends bit for bit like an unbroken one."""

import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from tcmax_jax.training import loop, passes
from tcmax_jax.training.build import build
from tcmax_jax.training.checkpoint import Checkpoints
from tests.training.tiny import tiny_config

EPOCHS = 15
ROOT = Path(__file__).parents[2]
# Fake devices and compiler flags are those of this process: they come with the environment.
RUN = f"""
import sys
from pathlib import Path
from tcmax_jax.training import loop
from tests.training.tiny import tiny_config
loop.train(tiny_config(training__epochs={EPOCHS}), Path(sys.argv[1]), sys.argv[2])
"""


def entries(workdir):
    """Returns the log without what depends on the clock."""
    log = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    clock = ("examples_per_second", "input_wait", "host_memory")
    return [{k: v for k, v in entry.items() if k not in clock} for entry in log]


def run_and_kill(workdir, data_dir, validations):
    """Starts the run and kills it (SIGKILL) once it has logged so many validations."""
    process = subprocess.Popen([sys.executable, "-c", RUN, workdir, data_dir], cwd=ROOT)
    log = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while not log.exists() or log.read_text().count('"validation"') < validations:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()


def last_state(workdir, like):
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        return checkpoints.restore(checkpoints.latest, like)


def test_killed_twice_and_resumed_equals_unbroken(tmp_path):
    config, data_dir = tiny_config(training__epochs=EPOCHS), str(tmp_path / "data")
    unbroken, killed = tmp_path / "a" / "run", tmp_path / "b" / "run"
    expected = loop.train(config, unbroken, data_dir)
    run_and_kill(killed, data_dir, 3)
    # What a kill in the middle of a write would leave.
    with (killed / "metrics.jsonl").open("a") as log:
        log.write('{"step": 1')
    run_and_kill(killed, data_dir, 7)
    assert not (killed / "results.json").exists()
    assert loop.train(config, killed, data_dir) == expected
    assert entries(killed) == entries(unbroken)

    like = passes.initial_state(build(config, data_dir))
    states = [last_state(workdir, like) for workdir in (unbroken, killed)]
    assert int(states[0].step) == 4 * EPOCHS
    jax.tree.map(np.testing.assert_array_equal, *states)
