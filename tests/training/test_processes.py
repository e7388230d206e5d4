"""Two processes with two devices each train as one process with four devices, or with one."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from tcmax_jax.launch import EXIT_PREEMPTED
from tcmax_jax.training import loop, passes, processes, run_folders
from tcmax_jax.training.build import build
from tcmax_jax.training.checkpoint import Checkpoints
from tests.training.two_processes import BLIND, COUNT, RUNS, config_of

ROOT = Path(__file__).parents[2]


def free_port():
    with contextlib.closing(socket.socket()) as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def two_devices():
    """Returns the environment of a process with two fake devices."""
    flags = re.sub(r"device_count=\d+", "device_count=2", os.environ["XLA_FLAGS"])
    return os.environ | {"XLA_FLAGS": flags}


def run_both(folder, *names):
    """Lets two processes train; returns how they ended, and what they said to standard error."""
    command = [sys.executable, "-m", "tests.training.two_processes", str(free_port())]
    said = subprocess.run(
        [*command, str(folder), *names],
        cwd=ROOT, env=two_devices(), stdout=subprocess.PIPE, text=True, timeout=480, check=True,
    ).stdout  # fmt: skip
    errors = [(folder / f"errors{i}.txt").read_text() for i in range(COUNT)]
    return json.loads(said.splitlines()[-1]), errors


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Returns the folder of all runs, trained by two processes."""
    folder = tmp_path_factory.mktemp("processes")
    codes, errors = run_both(folder, *RUNS, BLIND)
    assert codes == [0, 0], "\n".join(errors)
    # Progress is that of the first process alone.
    assert ["TC bound\n" in error for error in errors] == [True, False]
    return folder


def entries(workdir, split):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["split"] == split]


def last_state(workdir, like):
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        return checkpoints.restore(checkpoints.latest, like)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_equal_one(together, name, tmp_path, devices):
    config, data_dir = config_of(name), str(together / "data")
    # All that four devices of one process do is compared with one device in test_step.py.
    used = devices if name == "sampled" else devices[:1]
    expected = loop.train(config, tmp_path, data_dir, used)
    results = json.loads((together / name / "results.json").read_text())
    for split, metrics in expected["splits"].items():
        assert results["splits"][split] == pytest.approx(metrics, rel=1e-4, abs=1e-6)
    for one, other in zip(
        entries(tmp_path, "train"), entries(together / name, "train"), strict=True
    ):
        for key in one.keys() - {"split", "examples_per_second", "input_wait", "host_memory"}:
            assert other[key] == pytest.approx(one[key], rel=1e-4, abs=1e-6), key
    like = passes.initial_state(build(config, data_dir, used))
    for (path, one), other in zip(
        jax.tree.leaves_with_path(last_state(tmp_path, like)),
        jax.tree.leaves(last_state(together / name, like)),
        strict=True,
    ):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6, err_msg=str(path))


def test_the_environment_names_both(together):
    [environment] = json.loads((together / "additive" / "environments.json").read_text())
    assert (environment["devices"], environment["processes"]) == ("4 x cpu", "2")


def test_one_process_goes_on_where_two_stopped(together, devices, capfd, tmp_path):
    # The run is finished: nothing is left to train, and what was evaluated comes again, up to
    # rounding, in a copy, since other tests expect what two processes have written.
    config, workdir = config_of("additive"), tmp_path / "additive"
    shutil.copytree(together / "additive", workdir)
    before = json.loads((workdir / "results.json").read_text())
    again = loop.train(config, workdir, str(together / "data"), devices[:2])
    assert again["splits"]["test"] == pytest.approx(before["splits"]["test"], rel=1e-5)
    said = capfd.readouterr().err
    assert re.search(
        r"another environment:\n  devices: 4 x cpu -> 2 x cpu\n  processes: 2 -> 1", said
    )
    assert "Equal to a run without the change: configuration, state, and the order" in said


@pytest.mark.parametrize("given", [("localhost:1", None, None), (None, 2, 0), ("a:1", 2, None)])
def test_what_describes_the_processes_comes_whole(given):
    with pytest.raises(ValueError, match=r"Expected coordinator, number of processes and process"):
        processes.join(*given)


def test_sigterm_to_one_of_two_saves_and_stops_both(tmp_path):
    arguments = [
        f"--data_dir={tmp_path / 'data'}", f"--workdir={tmp_path / 'run'}", "--num_processes=2",
        f"--coordinator=localhost:{free_port()}", "--config.training.epochs=100000",
        "--config.data.train_examples=64", "--config.data.validation_examples=20",
        "--config.training.batch_size=32", "--config.training.eval_batch_size=16",
        "--config.training.eval_every=1000", "--config.training.log_every=2",
        f"--compilation_cache={tmp_path / 'compiled'}",
    ]  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *arguments, f"--process_id={i}"],
            cwd=tmp_path, env=two_devices() | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(COUNT)
    ]  # fmt: skip
    log, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 2):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in running)
        time.sleep(0.1)
    running[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [EXIT_PREEMPTED] * 2, "\n".join(errors)
    [step], [other] = [re.findall(r"SIGTERM\): saved step (\d+) of 200000", e) for e in errors]
    assert step == other
    assert entries(tmp_path / "run", "train")[-1]["step"] == int(step)
    assert (tmp_path / "run" / "checkpoints" / step).is_dir()
    assert list((tmp_path / "compiled").iterdir())


def test_an_error_in_one_process_ends_both_with_a_message(tmp_path):
    with run_folders.occupied(tmp_path / "additive"):  # which the first process alone finds out
        codes, errors = run_both(tmp_path, "additive")
    assert all(codes)
    assert f"ConfigError: Another run is using {tmp_path / 'additive'} (process" in errors[0]
    assert "ValueError: Another process failed; its message says why." in errors[1]


def test_a_checkpoint_that_one_process_cannot_read_is_passed_over_by_both(together):
    # In a copy that has two checkpoints; the second process loses sight of the latest.
    steps = sorted(int(p.name) for p in (together / "additive" / "checkpoints").iterdir())
    assert steps[-1] == 8
    assert f"Resuming after step {steps[-2]} instead." in (together / "errors0.txt").read_text()
    before = json.loads((together / "additive" / "results.json").read_text())
    after = json.loads((together / BLIND / "results.json").read_text())
    assert after["splits"] == before["splits"]
