"""Processes that would train different runs are told so before anything is claimed."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tcmax_jax.training import run_folders
from tcmax_jax.training.config.tree import ConfigError
from tests.training.tiny import tiny_config

ROOT = Path(__file__).parents[2]
ONE = """
import sys
from tcmax_jax.training import loop, processes
from tests.training.tiny import tiny_config
port, index, folder, rate, threads = sys.argv[1:]
processes.join(f"localhost:{port}", 2, int(index))
config = tiny_config(
    training__epochs=1, optimizer__learning_rate=float(rate), training__threads=int(threads)
)
loop.train(config, __import__("pathlib").Path(folder) / "run", f"{folder}/data")
"""


def test_two_processes_with_different_rates_refuse(tmp_path):
    with contextlib.closing(socket.socket()) as server:
        server.bind(("localhost", 0))
        port = server.getsockname()[1]
    flags = re.sub(r"device_count=\d+", "device_count=2", os.environ["XLA_FLAGS"])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ONE, str(port), str(i), str(tmp_path), rate, threads],
            cwd=ROOT, env=os.environ | {"XLA_FLAGS": flags}, stderr=subprocess.PIPE, text=True,
        )
        for i, (rate, threads) in enumerate((("0.05", "1"), ("0.5", "2")))
    ]  # fmt: skip
    for process in running:
        said = process.communicate(timeout=240)[1]
        assert process.returncode != 0
        assert (
            "got another one in process 1 than in process 0:\n  optimizer.learning_rate: " in said
        )
        assert "Start all with one command, one code and the same data." in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "field,value,refused",
    [
        ("seed", 5, "seed: 0 -> 5"),
        ("training__threads", 7, None),  # Hosts may differ in what changes no number.
    ],
)
def test_fields_that_change_no_number_may_differ(monkeypatch, field, value, refused):
    config, other = tiny_config(), tiny_config(**{field: value})
    texts = []
    monkeypatch.setattr(run_folders, "gather_texts", lambda text: texts.append(text) or texts[-1:])
    for each in (config, other):
        run_folders.check_agreement(each)
    monkeypatch.setattr(run_folders, "gather_texts", lambda text: texts)
    if refused is None:
        return run_folders.check_agreement(config)
    with pytest.raises(ConfigError, match=refused):
        run_folders.check_agreement(config)


def test_versions_may_not_differ(monkeypatch):
    texts = []
    monkeypatch.setattr(run_folders, "gather_texts", lambda text: texts.append(text) or texts[-1:])
    run_folders.check_agreement(tiny_config())
    monkeypatch.setattr(run_folders, "versions", lambda: {"jax": "0.0.1"})
    run_folders.check_agreement(tiny_config())
    monkeypatch.setattr(run_folders, "gather_texts", lambda text: texts)
    with pytest.raises(ConfigError, match=r"process 1 than in process 0:[\s\S]*jax: .* -> 0\.0\.1"):
        run_folders.check_agreement(tiny_config())
