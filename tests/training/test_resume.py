"""A run that is killed and started again ends bit for bit like an unbroken one."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from tcmax_jax.training import fit, loop, passes
from tcmax_jax.training.build import build
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.preemption import PreemptedError
from tests.training.killed import EPOCHS, config

ROOT = Path(__file__).parents[2]
CLOCK = ("examples_per_second", "input_wait", "host_memory")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Returns the folder and the results of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder / "run", loop.train(config(), folder / "run", str(folder / "data"))


def entries(workdir):
    """Returns the log without what depends on the clock and on the machine's memory."""
    log = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k not in CLOCK} for entry in log]


def start(workdir, data_dir, *where, **options):
    """Starts a run; fake devices and compiler flags come with the environment."""
    arguments = [str(x) for x in (workdir, data_dir, *where)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.killed", *arguments], cwd=ROOT, **options
    )


def last_state(workdir, data_dir):
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        like = passes.initial_state(build(config(), data_dir))
        return checkpoints.restore(checkpoints.latest, like)


def check_equal(workdir, data_dir, unbroken):
    """Checks that a run has ended like the unbroken one, and left no remains."""
    folder, expected = unbroken
    results = json.loads((workdir / "results.json").read_text())
    assert results == expected | {"run": workdir.name}
    assert entries(workdir) == entries(folder)
    states = [last_state(folder, str(folder.parent / "data")), last_state(workdir, data_dir)]
    assert int(states[0].step) == 4 * EPOCHS
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert not list((workdir / "checkpoints").glob("*tmp*"))


# Epochs have 4 steps, checkpoints lie after steps 3, 4, 6, 8, 9, 12, 15 and 16.
DEATHS = [
    ("preparation", 90),
    ("step", 2),
    ("evaluation", 2),
    ("checkpoint write", 3),
    ("checkpoint end", 2),
]


def test_killed_in_every_phase_and_resumed_equals_unbroken(tmp_path, unbroken):
    workdir, data_dir = tmp_path / "run", str(tmp_path / "data")
    deaths = start(workdir, data_dir, *itertools.chain.from_iterable(DEATHS))
    assert deaths.wait(timeout=480) == 0
    assert not (workdir / "results.json").exists()
    # What a kill in the middle of a write of the log would leave.
    with (workdir / "metrics.jsonl").open("a") as log:
        log.write('{"step": 1')
    loop.train(config(), workdir, data_dir)
    check_equal(workdir, data_dir, unbroken)
    assert {path.name for path in Path(data_dir).iterdir()} == {"preparing.lock", "synthetic"}
    assert [path.name for path in Path(data_dir).glob("synthetic/*/*")] == ["1.0.0"]


@pytest.mark.slow
def test_killed_thirty_times_at_random_moments_equals_unbroken(tmp_path, unbroken):
    workdir, data_dir = tmp_path / "run", str(tmp_path / "data")
    moments = random.Random(0)
    kills = 0
    while kills < 30:
        begin = time.monotonic()
        # From importing to the end of such a run; the folder is emptied where it got that far.
        process = start(workdir, data_dir)
        while process.poll() is None and time.monotonic() < begin + moments.uniform(4, 14):
            time.sleep(0.01)
        if process.poll() is None:
            process.kill()
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            check_equal(workdir, data_dir, unbroken)
            workdir, data_dir = tmp_path / f"run{kills}", str(tmp_path / f"data{kills}")
    assert start(workdir, data_dir).wait(timeout=240) == 0
    check_equal(workdir, data_dir, unbroken)


@pytest.fixture
def preempted(tmp_path, unbroken, monkeypatch):
    """Returns the folder of a run that SIGTERM has stopped in the middle of the second epoch."""
    workdir, data_dir = tmp_path / "run", str(unbroken[0].parent / "data")
    original = passes.training_batches

    def batches(setup, first_step):
        for number, batch in enumerate(original(setup, first_step), start=first_step):
            if number == 6:  # while the fifth step is taken: two batches are fetched ahead
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(passes, "training_batches", batches)
        with pytest.raises(PreemptedError, match=r"saved step 5 of 16 in .* resumes from there"):
            loop.train(config(), workdir, data_dir)
    return workdir


def test_preempted_goes_on_where_it_was(preempted, unbroken, capfd):
    folder, expected = unbroken
    workdir, data_dir = preempted, str(folder.parent / "data")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert loop.train(config(), workdir, data_dir) == expected | {"run": "run"}
    assert "resuming after step 5 of 16" in capfd.readouterr().err
    states = [last_state(each, data_dir) for each in (folder, workdir)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    # The window in which it was stopped is told in two parts; all others are the same.
    windows = {entry["step"]: entry for entry in entries(workdir) if entry["split"] == "train"}
    whole = {entry["step"]: entry for entry in entries(folder) if entry["split"] == "train"}
    assert windows.keys() == whole.keys() | {5}
    assert all(windows[step] == whole[step] for step in whole if step != 6)


def test_other_devices_go_on_and_are_told(preempted, unbroken, devices, capfd):
    folder, expected = unbroken
    results = loop.train(config(), preempted, str(folder.parent / "data"), devices[:2])
    said = capfd.readouterr().err
    assert "resumes after step 5 in another environment:\n  devices: 4 x cpu -> 2 x cpu\n" in said
    for split, metrics in expected["splits"].items():
        assert results["splits"][split] == pytest.approx(metrics, rel=1e-4, abs=1e-6)
    environments = json.loads((preempted / "environments.json").read_text())
    assert [(e["after_step"], e["devices"]) for e in environments] == [
        (0, "4 x cpu"), (5, "2 x cpu"),
    ]  # fmt: skip
    whole = {e["step"]: e for e in entries(folder) if e["split"] == "train"}
    for entry in entries(preempted):
        if entry.pop("split") == "train" and entry["step"] > 6:
            expected = {k: v for k, v in whole[entry["step"]].items() if k != "split"}
            assert entry == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_signal_after_the_question_waits_for_a_step_that_saves(tmp_path, unbroken, monkeypatch):
    folder, expected = unbroken
    workdir, data_dir = tmp_path / "run", str(folder.parent / "data")
    original, windows = fit.used_memory, []

    def used_memory():
        windows.append(original())
        if len(windows) == 1:  # at the end of step 3, which has been asked already
            os.kill(os.getpid(), signal.SIGTERM)
        return windows[-1]

    with monkeypatch.context() as patch:
        patch.setattr(fit, "used_memory", used_memory)
        with pytest.raises(PreemptedError, match="saved step 4 of 16"):
            loop.train(config(), workdir, data_dir)
    assert (workdir / "checkpoints" / "4").is_dir()
    assert loop.train(config(), workdir, data_dir) == expected | {"run": "run"}


def test_a_signal_in_the_last_validation_leaves_the_evaluation_to_the_next_start(
    tmp_path, unbroken, monkeypatch
):
    folder, expected = unbroken
    workdir, data_dir = tmp_path / "run", str(folder.parent / "data")
    original, windows = fit.used_memory, []

    def used_memory():
        windows.append(original())
        if len(windows) == len(whole):
            os.kill(os.getpid(), signal.SIGTERM)
        return windows[-1]

    whole = [entry for entry in entries(folder) if entry["split"] == "train"]
    with monkeypatch.context() as patch:
        patch.setattr(fit, "used_memory", used_memory)
        with pytest.raises(PreemptedError, match="saved step 16 of 16"):
            loop.train(config(), workdir, data_dir)
    assert not (workdir / "results.json").exists()
    assert loop.train(config(), workdir, data_dir) == expected | {"run": "run"}
    assert entries(workdir) == entries(folder)
