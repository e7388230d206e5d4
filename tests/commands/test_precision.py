"""Runs have numbers of 32 bits, whatever the environment asks JAX for."""

import json

import jax
import numpy as np
import pytest

from tcmax_jax.api import fit_arrays
from tcmax_jax.models import MLPEncoder
from tcmax_jax.training.config import Config, Training
from tests.command import launch_here

TINY = [
    "--config.data.train_examples=40", "--config.data.validation_examples=20",
    "--config.data.test_examples=20", "--config.training.epochs=1",
    "--config.training.batch_size=8", "--config.training.eval_batch_size=20",
    "--config.training.probe=false", "--config.training.noise=[]",
]  # fmt: skip


@pytest.fixture
def wide(monkeypatch):
    """Asks JAX for 64 bits, as the environment does."""
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def test_a_run_under_64_bits_is_evaluated_without(wide, tmp_path):
    data = f"--data_dir={tmp_path / 'data'}"
    trained = launch_here(data, f"--workdir={tmp_path / 'run'}", *TINY, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "note: runs have numbers of 32 bits; JAX_ENABLE_X64 is left out\n" in trained.stderr
    before = json.loads((tmp_path / "run" / "results.json").read_text())
    again = launch_here("--mode=evaluate", data, f"--workdir={tmp_path / 'run'}", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "JAX_ENABLE_X64" not in again.stderr
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == before


def test_from_python_too(wide, tmp_path):
    rng = np.random.default_rng(0)
    inputs = {m: rng.normal(size=(40, 6)) for m in "ab"}
    recipe = Config(name="wide", training=Training(epochs=1, batch_size=8, probe=False, noise=()))
    encoders = {m: MLPEncoder(sizes=(4,)) for m in "ab"}
    options = {"encoders": encoders, "validation_share": 0.3, "workdir": tmp_path / "run"}
    fitted = fit_arrays(inputs, np.arange(40) % 2, recipe, **options)
    assert fitted.predict(inputs)["fused"].dtype == np.float32
    assert jax.config.jax_enable_x64
